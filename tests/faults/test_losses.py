"""Processes lost in number: all at once, again and again, or before there was any work."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from distpg import InputError, RunError
from distpg.actors.workers import RayRollouts, RayWorkers
from tests.faults.injection import Faulty, FaultyWithState, OftenWithState, fault
from tests.faults.test_processes import below_named, policy_content, run, undisturbed

pytestmark = [pytest.mark.usefixtures("callers_ray"), pytest.mark.thorough]


def test_all_workers_killed_at_once_leave_no_trace_in_the_weights(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path, FaultyWithState)
    injected = fault(tmp_path, "kill all", at=41)
    outcome = run(tmp_path / "run", FaultyWithState, num_workers=2, env_kwargs=injected)
    assert (tmp_path / "fired").exists()
    assert outcome.result["worker_restarts"] == 2
    assert policy_content(outcome) == policy_content(expected)


def test_a_worker_killed_in_every_iteration_leaves_no_trace_in_the_weights(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path, FaultyWithState)
    injected = fault(tmp_path, "kill", at=16)
    outcome = run(tmp_path / "run", OftenWithState, num_workers=2, env_kwargs=injected)
    fired = len([*tmp_path.glob("fired *")])
    assert outcome.result["worker_restarts"] == fired >= 4
    assert policy_content(outcome) == policy_content(expected)


def test_beyond_max_restarts_the_run_ends_with_the_limit_and_the_cause(tmp_path: Path) -> None:
    injected = fault(tmp_path, "kill", at=16)
    said = r"lost 3 times, more than --max-restarts 2; the last: rollout worker \d .* was killed"
    with pytest.raises(RunError, match=said):
        run(tmp_path / "run", OftenWithState, num_workers=2, max_restarts=2, env_kwargs=injected)
    assert len([*tmp_path.glob("fired *")]) == 3


class OnlyInTheDriver(Faulty):
    """Cannot be made in another process than the one it is told."""

    def __init__(self, driver: int) -> None:
        super().__init__()
        if os.getpid() != driver:
            raise ConnectionError("no simulator on this machine")


def test_an_env_that_no_worker_can_make_ends_the_run_with_its_words(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(
        InputError, match=r"--env-kwargs: tests.faults.test_losses:OnlyInTheDriver cannot be made"
    ) as caught:
        run(tmp_path / "run", OnlyInTheDriver, num_workers=2, env_kwargs={"driver": os.getpid()})
    assert time.monotonic() - began < 60
    assert str(caught.value).count("ConnectionError: no simulator on this machine") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("hidden", [8, 512])
def test_a_learner_killed_as_its_weights_are_fetched_leaves_no_trace(
    hidden: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = undisturbed(tmp_path, FaultyWithState, hidden_sizes=(hidden,) * 2)
    collect, killed = RayWorkers.collect, list[int]()

    def collect_and_kill(self: RayWorkers, weights: Any, iteration: int) -> RayRollouts:
        pending = collect(self, weights, iteration)
        if iteration == 2:
            (learner,) = below_named("LearnerActor")
            learner.kill()
            killed.append(learner.pid)
        return pending

    monkeypatch.setattr(RayWorkers, "collect", collect_and_kill)
    outcome = run(tmp_path / "run", FaultyWithState, num_workers=2, hidden_sizes=(hidden,) * 2)
    assert len(killed) == 1
    assert outcome.result["learner_restarts"] == 1
    assert outcome.result["worker_restarts"] == 0
    assert policy_content(outcome) == policy_content(expected)
