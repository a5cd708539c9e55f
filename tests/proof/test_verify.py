"""The proof itself: estimators that are right pass, and every planted fault fails."""

import json
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distpg.config.config import hints
from distpg.errors import InputError
from distpg.gradient import advantages, baselines, losses
from distpg.gradient.trajectories import Trajectories
from distpg.learner import objective
from distpg.proof import gradients
from distpg.proof import verify as verification
from distpg.proof.estimators import (
    PLAIN,
    PSI_AND_BASELINE,
    SCALINGS,
    SURROGATES,
    Estimator,
    combinations,
    quick,
    variations,
)
from distpg.proof.scene import Scene
from distpg.proof.updates import cases
from distpg.proof.verify import check_exactly, verify
from tests.settings import config_of

ROOT = Path(__file__).parents[2]
TO_GO: dict[str, Any] = {"advantage": "reward_to_go", "baseline": "none", **PLAIN}
GAE: dict[str, Any] = {"advantage": "gae", "gae_lambda": 0.5, "baseline": "value", **PLAIN}
ONE_STEP: dict[str, Any] = {
    "advantage": "n_step",
    "bootstrap_steps": 1,
    "baseline": "value",
    **PLAIN,
}


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    """Have gradients computed with this test's faults, and with no other's."""
    remembering = (
        gradients.gradients_by_settings,
        gradients.plain_statistics,
        gradients.sampled_targets,
    )
    for function in remembering:
        function.cache_clear()
    yield
    for function in remembering:
        function.cache_clear()


def reasons(settings: dict[str, Any], scene: Scene | None = None) -> str:
    """Verify an estimator, without samples if that is enough; return what failed."""
    estimator = Estimator(settings, scene or Scene())
    exactly = list(check_exactly(estimator))
    if exactly:
        return "; ".join(exactly)
    row = verify(estimator)
    assert (row.verdict == "PASS") == (not row.reasons)
    return "; ".join(row.reasons)


def test_what_fails_exactly_fails_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one(estimator: Estimator) -> Iterator[str]:
        yield "off by 1"

    monkeypatch.setattr(verification, "check_exactly", off_by_one)
    row = verify(Estimator(TO_GO, Scene()))
    assert (row.verdict, row.reasons[0]) == ("FAIL", "off by 1")


@pytest.mark.parametrize(
    ("settings", "scene"),
    [
        (TO_GO, Scene()),
        (TO_GO | {"baseline": "mean"}, Scene()),
        (TO_GO | {"baseline": "value"}, Scene()),
        (GAE, Scene()),
        (GAE, Scene(truncated=True)),
        (ONE_STEP, Scene(wrong_critic=True)),
    ],
    ids=str,
)
def test_without_a_fault_they_pass(settings: dict[str, Any], scene: Scene) -> None:
    assert reasons(settings, scene) == ""


SCALED = pytest.mark.parametrize("scaling", SCALINGS, ids=str)


@SCALED
def test_fault_a_baseline_that_depends_on_the_action(
    monkeypatch: pytest.MonkeyPatch, scaling: dict[str, Any]
) -> None:
    def shrinks_the_credit(credit: Tensor, trajectories: Trajectories, settings: object) -> Tensor:
        return trajectories.values + 0.2 * (credit - trajectories.values)

    monkeypatch.setitem(baselines.BASELINES, "value", shrinks_the_credit)
    assert "differs from theory" in reasons(TO_GO | {"baseline": "value"} | scaling)


def test_fault_returns_that_leak_into_the_episode_before(monkeypatch: pytest.MonkeyPatch) -> None:
    right = advantages.reward_to_go

    def leaks(
        rewards: Tensor, next_values: Tensor, terminated: Tensor, *rest: Any, gamma: float
    ) -> Tensor:
        return right(rewards, next_values, torch.zeros_like(terminated), *rest, gamma=gamma)

    monkeypatch.setattr(advantages, "reward_to_go", leaks)
    # what follows does not depend on the action: noise, and no bias
    found = reasons(TO_GO)
    assert "the sampled variance" in found
    assert "theory" not in found


def test_fault_gae_that_leaks_into_the_episode_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaks(
        rewards: Tensor,
        values: Tensor,
        next_values: Tensor,
        terminated: Tensor,
        truncated: Tensor,
        ratios: Tensor | None,
        *,
        gamma: float,
        gae_lambda: float,
    ) -> Tensor:
        errors = rewards + gamma * next_values * ~terminated - values
        for t in reversed(range(len(errors) - 1)):
            errors[t] += gamma * gae_lambda * errors[t + 1]
        return errors

    monkeypatch.setattr(advantages, "gae", leaks)
    # samples find it, too: batches in which an episode follows another
    assert "the sampled mean" in "; ".join(verify(Estimator(GAE, Scene())).reasons)


def test_fault_a_truncation_that_counts_as_a_termination(monkeypatch: pytest.MonkeyPatch) -> None:
    right = advantages.gae

    def ends(
        rewards: Tensor,
        values: Tensor,
        next_values: Tensor,
        terminated: Tensor,
        truncated: Tensor,
        *rest: Any,
        **decays: Any,
    ) -> Tensor:
        return right(rewards, values, next_values, terminated | truncated, truncated, **decays)

    monkeypatch.setattr(advantages, "gae", ends)
    assert "differs from theory" in reasons(GAE, Scene(truncated=True))


@SCALED
def test_fault_a_mean_with_the_samples_own_return_in_it(
    monkeypatch: pytest.MonkeyPatch, scaling: dict[str, Any]
) -> None:
    def of_all(credit: Tensor, episodes: Tensor, *, per_episode: bool) -> Tensor:
        first = torch.stack([credit[episodes == number][0] for number in range(4)])
        return torch.full_like(credit, float(first.mean()))

    settings = TO_GO | {"advantage": "total_return", "baseline": "mean"}
    monkeypatch.setattr(baselines, "mean_of_others", of_all)
    assert "differs from theory" in reasons(settings | scaling)
    # the gradient is shrunk by 1 - 1/N
    assert verify(Estimator(settings)).bias == pytest.approx(1 / 4, abs=1e-6)


def shifted(psi: Tensor) -> Tensor:
    return psi + 1


def too_long(psi: Tensor) -> Tensor:
    return 7 * (psi - psi.mean())


def not_centred(psi: Tensor) -> Tensor:
    return psi / (psi.std(correction=0) + 1e-8)


def without_a_number(psi: Tensor) -> Tensor:
    return psi / 0


@pytest.mark.parametrize("wrong", [shifted, too_long, not_centred, without_a_number])
@pytest.mark.parametrize("average", ["per_step", "per_episode"])
def test_fault_advantages_that_are_normalized_wrongly(
    monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Tensor], Tensor], average: str
) -> None:
    monkeypatch.setattr(objective, "normalize", wrong)
    found = reasons(TO_GO | {"normalize_advantages": True, "loss_average": average})
    assert "differs from the scaled plain one" in found


def test_fault_an_average_over_more_steps_than_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    def padded(log_ratio: Tensor, advantages: Tensor) -> Tensor:
        return -(log_ratio.exp() * advantages).sum() / (len(advantages) + 1)

    monkeypatch.setattr(losses, "ratio_loss", padded)
    settings = {**TO_GO, "surrogate": "detached_ratio", "loss_average": "per_step"}
    assert "differs from theory" in reasons(settings)


@pytest.mark.parametrize("critic", ["exact", "wrong"])
def test_fault_a_bootstrap_off_by_one(monkeypatch: pytest.MonkeyPatch, critic: str) -> None:
    right = advantages.n_step

    def state_before(
        rewards: Tensor, values: Tensor, next_values: Tensor, *rest: Any, **length: Any
    ) -> Tensor:
        return right(rewards, values, values, *rest, **length)

    def step_more(*arrays: Any, gamma: float, num_steps: int) -> Tensor:
        return right(*arrays, gamma=gamma, num_steps=num_steps + 1)

    # with the exact V, a step more or less changes no expectation
    monkeypatch.setattr(advantages, "n_step", state_before if critic == "exact" else step_more)
    assert "differs from theory" in reasons(ONE_STEP, Scene(wrong_critic=critic == "wrong"))


def test_the_combinations_are_all_that_the_configuration_allows() -> None:
    listed = {
        (*(f"{k}={v}" for k, v in sorted(estimator.settings.items())), estimator.scene)
        for estimator in combinations()
    }
    assert len(listed) == len(PSI_AND_BASELINE) * len(SURROGATES) * len(SCALINGS)

    def choices(name: str) -> tuple[str, ...]:
        return typing.get_args(hints()[name])

    allowed = set[tuple[Any, ...]]()
    for advantage, steps, baseline in product(
        choices("advantage"), (2, "inf"), choices("baseline")
    ):
        try:
            config_of({"advantage": advantage, "bootstrap_steps": steps, "baseline": baseline})
        except InputError:
            continue
        allowed.add((advantage, steps if advantage == "n_step" else None, baseline))
    found = {(x["advantage"], x.get("bootstrap_steps"), x["baseline"]) for x in PSI_AND_BASELINE}
    assert found == allowed
    assert {x["surrogate"] for x in SURROGATES} == set(choices("surrogate"))
    kinds = [x["importance"] for x in SURROGATES if x["surrogate"] == "importance"]
    assert sorted(kinds) == sorted(choices("importance"))
    assert {x["loss_average"] for x in SCALINGS} == set(choices("loss_average"))


def test_no_variation_is_a_combination() -> None:
    named = [estimator.name for estimator in (*combinations(), *variations())]
    assert len(set(named)) == len(named)


@pytest.mark.slow
def test_verify_quick_passes_as_a_command_and_prints_one_object_a_row() -> None:
    done = subprocess.run(
        [sys.executable, "launch.py", "verify", "--quick", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    named = [estimator.name for estimator in quick()] + [case.name for case in cases()]
    assert [row.get("estimator") or row["update"] for row in rows] == named
    assert {row["verdict"] for row in rows} == {"PASS"}
