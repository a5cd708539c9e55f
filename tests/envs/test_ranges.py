"""Values that float32 cannot tell apart: warned of once, by leaf, and only if they matter."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from distpg import Config, train
from distpg.doctor.trace import StepResult, ranges
from distpg.envs.describe import describe_obs
from distpg.envs.ranges import Ranges

# the steps of float32 near these values are 2**-4, 8, 128 and 2**37
MILLION, HUNDRED_MILLION, UNIX_TIME, NANOSECONDS = 10**6, 10**8, 1_700_000_000, 17 * 10**17


def lost(*values: Any, dtype: str = "float64") -> dict[str, str]:
    rows = [np.array([value, 0.5], dtype) for value in values]
    watched = Ranges(describe_obs(spaces.Box(-np.inf, np.inf, (2,), np.float64), "Env-v0"))
    for row in rows:
        watched.watch(row)
    return watched.warnings()


@pytest.mark.parametrize(
    ("offset", "spread", "dtype", "step"),
    [
        (HUNDRED_MILLION, 3, "float64", "8"),
        (UNIX_TIME, 1000, "int64", "128"),
        (-UNIX_TIME, 3, "int64", "128"),
        (UNIX_TIME, 3, "uint32", "128"),
        # float64 cannot tell these apart either, but integers can
        (NANOSECONDS, 7, "int64", "1.37e+11"),
        (1.0, 1e-7, "float64", "1.19e-07"),
    ],
)
def test_an_entry_whose_values_span_few_steps_is_named(
    offset: float, spread: float, dtype: str, step: str
) -> None:
    (warning,) = lost(offset, offset + spread, dtype=dtype).values()
    assert "observation 'obs', entry [0], loses digits" in warning
    assert f"span {spread:.3g}, and float32 has steps of {step} there" in warning


@pytest.mark.parametrize(
    "values",
    [
        (0, 1, 2),
        (MILLION, MILLION + 3),
        # a constant loses nothing, nor does what differs by rounding alone
        (UNIX_TIME, UNIX_TIME),
        (0.1 + 0.2, 0.3),
        (UNIX_TIME, 0),
        (np.nan, np.nan),
        (np.nan, 1.0, 2.0),
        (-np.inf, np.inf),
    ],
    ids=str,
)
def test_values_that_keep_their_digits_are_not_warned_of(values: tuple[float, ...]) -> None:
    assert lost(*values) == {}


def test_a_batch_is_watched_as_its_rows_are() -> None:
    watched = Ranges(describe_obs(spaces.Box(-np.inf, np.inf, (), np.float64), "Env-v0"))
    watched.watch(np.array([UNIX_TIME, UNIX_TIME + 1.0]))
    assert "observation 'obs' loses digits" in watched.warnings()["obs"]


class Clock(gym.Env[Any, Any]):
    """Observes the seconds since 1970, of long ago."""

    def __init__(self) -> None:
        self.observation_space = spaces.Dict(
            {"time": spaces.Box(0, np.inf, (1,), np.float64), "place": spaces.Box(-1, 1, (1,))}
        )
        self.action_space = spaces.Discrete(2)
        self.seconds = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.seconds = UNIX_TIME
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.seconds += 1
        return self._observe(), 1.0, False, self.seconds >= UNIX_TIME + 5, {}

    def _observe(self) -> dict[str, np.ndarray]:
        return {"time": np.array([float(self.seconds)]), "place": np.zeros(1, np.float32)}


def test_a_run_warns_once_of_the_leaf(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(
        num_workers=0, num_slots=2, num_envs=2, num_steps=16, minibatch_size=16, total_steps=150
    )
    train(config, make_env=Clock, run_dir=tmp_path / "run")
    said = capsys.readouterr().out
    assert said.count("loses digits") == 1
    assert "warning: observation 'time', entry [0], loses digits: its values near 1.7e+09" in said


def test_doctor_warns_of_the_leaf() -> None:
    env = Clock()
    spec = describe_obs(env.observation_space, "Env-v0")
    seen = [env.reset(seed=0)[0], env.step(0)[0], env.step(0)[0]]
    results = [StepResult(False, obs, obs, 0.0, False, False, 0.0) for obs in seen]
    (check,) = ranges(results, spec)
    assert check.status == "WARN"
    assert "'time'" in check.found
    assert "subtract an offset" in check.advice
    (sound,) = ranges(results[:1], spec)
    assert sound.status == "PASS"


@pytest.mark.parametrize(
    ("high", "dtype", "largest", "warned"),
    [
        # a wrapper forgot to divide, or the space
        (1.0, "float32", 255.0, True),
        (255.0, "float32", 1.0, True),
        (255, "uint8", 1, True),
        (1.0, "float32", 1.0, False),
        (255.0, "float32", 17.0, False),
        (255, "uint8", 255, False),
        # a black picture says nothing
        (255, "uint8", 0, False),
    ],
)
def test_a_picture_is_warned_of_whose_values_are_not_those_of_its_space(
    high: float, dtype: Any, largest: float, warned: bool
) -> None:
    watched = Ranges(describe_obs(spaces.Box(0, high, (16, 16, 3), dtype), "Env-v0"))
    watched.watch(np.zeros((2, 16, 16, 3), dtype))
    watched.watch(np.full((2, 16, 16, 3), largest, dtype))
    warning = watched.warnings().get("obs", "")
    expected = f"picture 'obs' has values up to {largest:g}, and is divided by {high:g}"
    assert (expected in warning) == warned == bool(warning)
