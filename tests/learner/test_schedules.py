import dataclasses
from typing import Any

import numpy as np
import pytest

from distpg.config.config import Config
from distpg.learner.schedules import Schedules

FAR, NEAR, AT_TARGET = 1.0, 1e-6, 0.01
"""KLs of updates, with the default target of 0.01."""


def make(**settings: Any) -> Schedules:
    return Schedules(Config(total_steps=1000, **settings))


def values(schedules: Schedules, trained_steps: int) -> dict[str, float]:
    """Read what is scheduled, by name."""
    coefficients, rate = schedules.now(trained_steps)
    return dataclasses.asdict(coefficients) | {"lr": rate}


SCHEDULED = [
    ("lr", "lr_schedule", "learning_rate", 0.5),
    ("clip", "clip_schedule", "clip_coef", 0.25),
    ("entropy", "ent_schedule", "ent_coef", 0.125),
    ("value_clip", "value_clip_schedule", "value_clip", 0.375),
]
everything_scheduled = pytest.mark.parametrize(("name", "schedule", "start", "value"), SCHEDULED)


@everything_scheduled
def test_constant_stays(name: str, schedule: str, start: str, value: float) -> None:
    schedules = make(**{start: value})
    schedules.observe(FAR)
    assert [values(schedules, steps)[name] for steps in (0, 500, 2000)] == [value] * 3


@everything_scheduled
def test_linear_falls_to_0_at_the_last_step_and_stays_there(
    name: str, schedule: str, start: str, value: float
) -> None:
    schedules = make(**{start: value, schedule: "linear"})
    # at 1000 steps in all
    found = [values(schedules, steps)[name] for steps in (0, 250, 500, 1000, 1500)]
    assert found == [value, 0.75 * value, 0.5 * value, 0, 0]
    schedules.observe(FAR)
    assert values(schedules, 500)[name] == 0.5 * value


@everything_scheduled
def test_kl_adaptive_divides_by_1_5_beyond_twice_the_target_and_multiplies_below_half(
    name: str, schedule: str, start: str, value: float
) -> None:
    schedules = make(**{start: value, schedule: "kl_adaptive"}, kl_target=0.02)
    found: list[float] = []
    # just beyond 2 x 0.02; on it and on half of it; just below; and in the middle
    for kl in (0.0401, 0.04, 0.01, 0.0099, 0.0099, 0.02):
        schedules.observe(kl)
        found.append(values(schedules, 700)[name] / value)
    assert found == pytest.approx([2 / 3, 2 / 3, 2 / 3, 1, 1.5, 1.5])


@everything_scheduled
def test_each_schedule_moves_its_own_value_alone(
    name: str, schedule: str, start: str, value: float
) -> None:
    for kind in ("linear", "kl_adaptive"):
        starts: dict[str, Any] = {start: value for _, _, start, value in SCHEDULED}
        schedules = make(**starts, **{schedule: kind})
        before = values(schedules, 0)
        schedules.observe(FAR)
        after = values(schedules, 500)
        assert {key for key in after if after[key] != before[key]} == {name}


def test_the_adaptive_factor_stays_between_a_hundredth_and_ten() -> None:
    schedules = make(learning_rate=0.5, lr_schedule="kl_adaptive")
    for _ in range(30):
        schedules.observe(FAR)
    assert values(schedules, 0)["lr"] == pytest.approx(0.5 / 100)
    # at the bound nothing was saved up: it comes back at once
    schedules.observe(NEAR)
    assert values(schedules, 0)["lr"] == pytest.approx(1.5 * 0.5 / 100)
    for _ in range(60):
        schedules.observe(NEAR)
    assert values(schedules, 0)["lr"] == pytest.approx(5)


def test_the_penalty_doubles_beyond_one_and_a_half_times_the_target_and_halves_below_it() -> None:
    schedules = make(surrogate="kl_adaptive", kl_coef=3.0, kl_target=0.03)
    found = [values(schedules, 0)["kl"]]
    # 1.5 x 0.03 = 0.045, and 0.03 / 1.5 = 0.02
    for kl in (0.0451, 0.0449, 0.03, 0.0201, 0.0199, 0.0199):
        schedules.observe(kl)
        found.append(values(schedules, 0)["kl"])
    assert found == pytest.approx([3, 6, 6, 6, 6, 3, 1.5])


def test_the_penalty_stays_within_a_thousand_times_of_where_it_started() -> None:
    schedules = make(surrogate="kl_adaptive", kl_coef=3.0)
    for _ in range(15):
        schedules.observe(FAR)
    assert values(schedules, 0)["kl"] == 3 * 1024
    schedules.observe(NEAR)
    assert values(schedules, 0)["kl"] == 3 * 512
    for _ in range(30):
        schedules.observe(NEAR)
    assert values(schedules, 0)["kl"] == 3 / 1024


@pytest.mark.parametrize("surrogate", ["kl_fixed", "clip"])
def test_the_penalty_of_other_surrogates_stays(surrogate: str) -> None:
    schedules = make(surrogate=surrogate, kl_coef=3.0, lr_schedule="kl_adaptive")
    schedules.observe(FAR)
    assert values(schedules, 0)["kl"] == 3


@pytest.mark.parametrize(
    ("settings", "follows"),
    [
        ({}, False),
        ({"lr_schedule": "linear", "surrogate": "kl_fixed"}, False),
        ({"surrogate": "kl_adaptive"}, True),
        ({"lr_schedule": "kl_adaptive"}, True),
        ({"clip_schedule": "kl_adaptive"}, True),
        ({"ent_schedule": "kl_adaptive"}, True),
        ({"value_clip_schedule": "kl_adaptive", "value_clip": 0.5}, True),
        ({"value_clip_schedule": "kl_adaptive"}, False),
    ],
    ids=str,
)
def test_it_is_known_whether_anything_follows_the_kl(
    settings: dict[str, Any], follows: bool
) -> None:
    assert make(**settings).follows_kl == follows


def test_what_is_reported_is_what_is_in_use() -> None:
    both = {"train/learning_rate", "train/ent_coef"}
    clip = make(clip_coef=0.25, clip_schedule="linear", ent_coef=0.5, learning_rate=0.125)
    assert clip.scalars(500) == {
        "train/learning_rate": 0.125,
        "train/ent_coef": 0.5,
        "train/clip_range": 0.125,
    }
    value_clip = make(value_clip=0.5, value_clip_schedule="linear")
    assert value_clip.scalars(250)["train/value_clip_range"] == 0.375
    for surrogate in ("kl_adaptive", "kl_fixed"):
        penalty = make(surrogate=surrogate, kl_coef=3.0)
        assert set(penalty.scalars(0)) == both | {"train/kl_coef"}
        assert penalty.scalars(0)["train/kl_coef"] == 3
    assert set(make(surrogate="importance").scalars(0)) == both


def test_the_state_makes_a_round_trip() -> None:
    settings: dict[str, Any] = {"surrogate": "kl_adaptive", "lr_schedule": "kl_adaptive"}
    schedules, other = make(**settings), make(**settings)
    for kl in (FAR, FAR, AT_TARGET, NEAR):
        schedules.observe(kl)
    assert values(other, 300) != values(schedules, 300)
    state = schedules.state()
    other.load(state)
    assert values(other, 300) == values(schedules, 300)
    # it is a copy, of arrays that can be saved
    kept = {name: array.copy() for name, array in state.items()}
    for one in (schedules, other):
        one.observe(FAR)
    assert values(other, 300) == values(schedules, 300)
    for name, array in state.items():
        assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(array, kept[name])
