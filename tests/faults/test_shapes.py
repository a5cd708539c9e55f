"""Environments that return in the middle of a run what their spaces rule out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distpg import RunError
from tests.environments import Stepped
from tests.faults.injection import Faulty, fault
from tests.faults.test_processes import run, thorough

ODD = {
    "longer": np.zeros(3, np.float32),
    "a row": np.zeros((1, 2), np.float32),
    "complex": np.zeros(2, np.complex64),
    "words": np.array(["left", "right"]),
    "nothing": None,
}


class Odd(Faulty):
    """Observes something odd once: as a step's outcome, or an episode's first."""

    odd = False

    def fail(self) -> None:
        self.odd = True

    def step(self, action: Any) -> Stepped:
        outcome = super().step(action)
        if self.kind.startswith("first "):
            return outcome
        return self.oddly(outcome[0]), *outcome[1:]

    def reset(self, **words: Any) -> Any:
        obs, info = super().reset(**words)
        return self.oddly(obs), info

    def oddly(self, obs: Any) -> Any:
        odd, self.odd = self.odd, False
        return ODD[self.kind.removeprefix("first ")] if odd else obs


@pytest.mark.parametrize(
    ("kind", "num_workers"),
    [
        *((kind, 0) for kind in (*ODD, "first longer")),
        thorough("longer", 1),
        thorough("first longer", 1),
    ],
)
def test_an_odd_observation_ends_the_run_with_the_env_and_what_its_space_is(
    kind: str, num_workers: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if num_workers:
        request.getfixturevalue("callers_ray")
    said = r"slot \d, env \d, (step \d+|reset) of iteration \d: observation 'obs' "
    with pytest.raises(RunError, match=said) as caught:
        run(tmp_path / "run", Odd, num_workers=num_workers, env_kwargs=fault(tmp_path, kind, 41))
    assert (tmp_path / "fired").exists()
    assert "\n" not in str(caught.value)


class Unpaid(Faulty):
    """Pays nothing, in so many words."""

    def fail(self) -> None:
        self.kind = "unpaid"

    def step(self, action: Any) -> Stepped:
        obs, reward, *rest = super().step(action)
        kind, self.kind = self.kind, ""
        return obs, None if kind == "unpaid" else reward, *rest  # pyright: ignore[reportReturnType]


def test_a_reward_that_is_no_number_ends_the_run_with_its_place(tmp_path: Path) -> None:
    said = r"slot 0, env 0, step \d+ of iteration 2: the reward is None, which is not a number"
    with pytest.raises(RunError, match=said):
        run(tmp_path / "run", Unpaid, num_workers=0, env_kwargs=fault(tmp_path, "", 41))
    assert (tmp_path / "fired").exists()
