"""Memory and masks beside everything that a run survives; kills are in `test_processes.py`."""

from pathlib import Path
from typing import Any

import pytest

from distpg import Outcome, resume
from tests.faults.injection import Strict
from tests.faults.test_processes import RECURRENT, policy_content, run


def same(one: Outcome, other: Outcome) -> bool:
    keys = ("env_steps", "trained_steps", "episodes", "dropped_steps", "env_faults")
    return policy_content(one) == policy_content(other) and all(
        one.result[key] == other.result[key] for key in keys
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"algo": "trpo", "num_epochs": 1},
        {"recurrent_critic": "own", "recurrent_layers": 2, "optimizer": "rmsprop_tf"},
    ],
    ids=str,
)
@pytest.mark.parametrize("recurrent", ["none", "gru", "lstm"])
def test_half_a_run_and_its_resume_are_the_whole(
    recurrent: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {**RECURRENT, **changes, "recurrent": recurrent, "num_workers": 0}
    whole = run(tmp_path / "whole", Strict, **settings)
    half = run(tmp_path / "half", Strict, **{**settings, "total_steps": 150})
    assert half.result["env_steps"] < whole.result["env_steps"]
    assert same(resume(half.run_dir, make_env=Strict, total_steps=300, quiet=True), whole)
