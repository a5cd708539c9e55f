"""Memory and masks beside everything that a run survives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distpg import Outcome, resume
from tests.faults.injection import FaultyWithState, fault
from tests.faults.test_processes import policy_content, run, undisturbed

pytestmark = pytest.mark.usefixtures("callers_ray")
MEMORY: dict[str, Any] = {"recurrent": "lstm", "recurrent_size": 8, "sequence_length": 6}


class Strict(FaultyWithState):
    """One that forbids an action, another at each step, and raises where it is taken."""

    def action_masks(self) -> Any:
        allowed = np.ones(2, np.int8)
        if self.count % 3:
            allowed[self.count % 2] = 0
        return allowed

    def step(self, action: Any) -> Any:
        assert self.action_masks()[action], "this is not allowed"
        return super().step(action)


def same(one: Outcome, other: Outcome) -> bool:
    keys = ("env_steps", "trained_steps", "episodes", "dropped_steps", "env_faults")
    return policy_content(one) == policy_content(other) and all(
        one.result[key] == other.result[key] for key in keys
    )


def test_a_worker_that_dies_leaves_memory_and_masks_as_they_were(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path, Strict, **MEMORY)
    injected = {**MEMORY, "env_kwargs": fault(tmp_path, "kill", at=41)}
    outcome = run(tmp_path / "run", Strict, num_workers=2, **injected)
    assert (tmp_path / "fired").exists()
    assert outcome.result["worker_restarts"] == 1
    assert outcome.result["env_faults"] == 0
    assert same(outcome, expected)


@pytest.mark.parametrize("changes", [{}, {"algo": "trpo", "num_epochs": 1}], ids=str)
@pytest.mark.parametrize("recurrent", ["none", "gru", "lstm"])
def test_half_a_run_and_its_resume_are_the_whole(
    recurrent: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {**MEMORY, **changes, "recurrent": recurrent, "num_workers": 0}
    whole = run(tmp_path / "whole", Strict, **settings)
    half = run(tmp_path / "half", Strict, **{**settings, "total_steps": 150})
    assert half.result["env_steps"] < whole.result["env_steps"]
    assert same(resume(half.run_dir, make_env=Strict, total_steps=300, quiet=True), whole)
