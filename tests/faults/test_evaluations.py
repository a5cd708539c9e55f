"""Faults in an evaluation: it is played again, and training takes no notice."""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from distpg import Outcome, RunError
from distpg.run.checkpoint import load_checkpoint
from tests.environments import Stepped
from tests.faults.injection import Faulty, FaultyWithState, fault
from tests.faults.test_processes import policy_content, run, undisturbed

pytestmark = pytest.mark.thorough

EVALUATED: dict[str, Any] = {"eval_every": 2, "eval_episodes": 10}
"""Five episodes of each env: 105 steps with those that reset, more than one of training takes."""
IN_AN_EVALUATION = 100


def best_return(outcome: Outcome) -> float | None:
    return load_checkpoint((outcome.run_dir / "checkpoints/best").resolve()).best_return


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("kill", {}),
        ("hang", {"phase_timeout": 20.0}),
    ],
)
def test_a_worker_lost_in_an_evaluation_is_replaced_and_it_is_played_again(
    callers_ray: None, kind: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    expected = undisturbed(tmp_path, FaultyWithState, **EVALUATED)
    injected = {**EVALUATED, **changes, "env_kwargs": fault(tmp_path, kind, IN_AN_EVALUATION)}
    outcome = run(tmp_path / "run", FaultyWithState, num_workers=1, **injected)
    assert (tmp_path / "fired").exists()
    assert outcome.result["worker_restarts"] == 1
    assert policy_content(outcome) == policy_content(expected)
    assert best_return(outcome) == best_return(expected)


def test_an_env_that_raises_in_an_evaluation_costs_its_episode_which_is_played_again(
    tmp_path: Path,
) -> None:
    expected = undisturbed(tmp_path, FaultyWithState, **EVALUATED)
    injected = {**EVALUATED, "env_kwargs": fault(tmp_path, "raise", IN_AN_EVALUATION)}
    outcome = run(tmp_path / "run", FaultyWithState, num_workers=0, **injected)
    assert (tmp_path / "fired").exists()
    assert outcome.result["env_faults"] == 0
    assert policy_content(outcome) == policy_content(expected)
    assert outcome.result["iterations"] == expected.result["iterations"]


class RaisesWhereEvaluated(Faulty):
    """Raises in evaluations: in an episode that training does not come to, and in all new envs."""

    broken: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.raises = self.broken

    def step(self, action: Any) -> Stepped:
        if self.raises or self.steps >= IN_AN_EVALUATION:
            RaisesWhereEvaluated.broken = True
            raise ValueError("the reactor is on fire")
        return super().step(action)


def test_an_env_that_always_raises_in_evaluations_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"raised 1\d times in an evaluation: .*reactor is on fire"):
        run(tmp_path / "run", RaisesWhereEvaluated, num_workers=0, **EVALUATED)
