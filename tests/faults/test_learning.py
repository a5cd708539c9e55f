"""Learning that goes wrong: an update that blows up, a policy that collapses."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from distpg import Config, RunError, resume, train
from distpg.iteration import Evaluation, ProcessFaults
from distpg.progress import Progress
from distpg.records import Rollout, Weights
from distpg.report.fault_events import FaultEvents
from distpg.report.faults import FaultCounter
from distpg.rollout.evaluation import Evaluator
from distpg.run.checkpoint import list_checkpoints, load_checkpoint
from distpg.run.directory import RunDir
from distpg.run.loading import load_newest
from tests.faults.injection import Faulty, FaultyWithState, Stepped, fault
from tests.faults.test_processes import SHAPE
from tests.iterations import iteration_of
from tests.learner.runs import TINY, Run, assert_same
from tests.settings import config_of


class Generous(Faulty):
    """Pays 1e30 at one step: a number, whose square is none in float32."""

    def __init__(self, kind: str = "", at: int = -1, marker: str = "") -> None:
        super().__init__(kind, at, marker)
        self.windfall = False

    def fail(self) -> None:
        self.windfall = True

    def step(self, action: Any) -> Stepped:
        obs, reward, terminated, truncated, info = super().step(action)
        windfall, self.windfall = self.windfall, False
        return obs, 1e30 if windfall else reward, terminated, truncated, info


def generous(folder: Path, at: int, **changes: Any) -> Config:
    settings = {**SHAPE, "num_workers": 0, "num_slots": 1, "normalize_rewards": False, **changes}
    return config_of({**settings, "env_kwargs": fault(folder, "windfall", at)})


def blown(rollouts: Sequence[Rollout]) -> list[Rollout]:
    first, *others = rollouts
    return [dataclasses.replace(first, rewards=np.full_like(first.rewards, 1e30)), *others]


@pytest.mark.parametrize(
    "changes",
    [{}, {"algo": "a2c", "num_epochs": 1}, {"optimizer": "sgd"}, {"overlap": True}],
    ids=str,
)
def test_an_update_that_is_rolled_back_is_as_if_it_had_not_been(changes: dict[str, Any]) -> None:
    run, twin = (Run(**{**TINY, **changes}) for _ in range(2))
    run.iterate()
    twin.iterate()
    rollouts = run.collect()
    before = run.learner.state()
    weights, update = run.learner.update(blown(rollouts))
    assert update.rolled_back
    assert not np.isfinite(update.scalars["train/loss"])
    assert_same(weights.arrays, before.policy.arrays)
    assert_same(run.learner.state().arrays, before.arrays)
    assert run.learner.state().counters == before.counters
    # and the next update is that of one that never saw it
    assert not run.learner.update(rollouts)[1].rolled_back
    twin.learner.update(twin.collect())
    assert_same(run.learner.state().arrays, twin.learner.state().arrays)


def test_an_anomaly_stops_the_run_with_its_batch_kept(tmp_path: Path) -> None:
    config = generous(tmp_path, at=20, checkpoint_every=1)
    with pytest.raises(RunError, match=r"iteration 2 was rolled back.*anomalies/00000002.*skip"):
        train(config, make_env=Generous, run_dir=tmp_path / "run", quiet=True)
    folder = tmp_path / "run/anomalies/00000002"
    batch = safetensors.numpy.load_file(folder / "batch.safetensors")
    assert batch["0/rewards"].max() == np.float32(1e30)
    assert batch["0/obs/obs"].shape == (17, 2, 2)
    statistics = json.loads((folder / "statistics.json").read_text())
    assert statistics["train/loss"] in ("inf", "nan")
    # what the message says to do
    outcome = resume(tmp_path / "run", make_env=Generous, on_anomaly="skip", quiet=True)
    assert outcome.result["stop_reason"] == "total_steps"


def test_skipped_the_run_goes_on_and_the_batch_is_counted_as_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = generous(tmp_path, at=20, on_anomaly="skip", checkpoint_every=1)
    result = train(config, make_env=Generous, run_dir=tmp_path / "run").result
    assert result["rolled_back_updates"] == 1
    assert result["dropped"]["anomaly"] > 0
    assert result["trained_steps"] == result["env_steps"] >= 300
    assert result["policy_version"] == result["iterations"] - 1
    assert "the update of iteration 2 was rolled back" in capsys.readouterr().out
    checkpoint, problems = load_newest(RunDir(tmp_path / "run"))
    assert problems == []
    assert checkpoint.progress.dropped["anomaly"] == result["dropped"]["anomaly"]


class AlwaysGenerous(Generous):
    """Pays 1e30 at every step."""

    def step(self, action: Any) -> Stepped:
        self.windfall = True
        return super().step(action)


def test_anomalies_without_end_end_the_run(tmp_path: Path) -> None:
    config = generous(tmp_path, at=-1, on_anomaly="skip")
    with pytest.raises(RunError, match="iteration 10 was rolled back"):
        train(config, make_env=AlwaysGenerous, run_dir=tmp_path / "run", quiet=True)


RETURNS = [10.0, 20.0, 15.0, 9.0, 12.0, 12.0, 12.0, 12.0, 12.0, 12.0]


def test_a_policy_that_collapses_is_rolled_back_to_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    returns = iter(RETURNS)
    evaluated: list[Weights] = []

    def begin(self: Evaluator, weights: Weights, attributes: Any) -> Evaluation:
        evaluated.append(weights)
        return Evaluation([next(returns)], [1])

    monkeypatch.setattr(Evaluator, "begin", begin)
    settings = {**SHAPE, "num_workers": 0, "eval_every": 1, "rollback_on_collapse": 0.5}
    config = config_of({**settings, "checkpoint_every": 1, "keep_checkpoints": 100})
    result = train(config, make_env=FaultyWithState, run_dir=tmp_path / "run").result
    said = capsys.readouterr().out
    assert "the evaluation return fell from 20.0 to 9.0: rolled back to the best checkpoint" in said
    assert result["rollbacks"] == 1
    assert result["trained_steps"] == result["env_steps"]
    assert result["policy_version"] == result["iterations"]
    folders = list_checkpoints(RunDir(tmp_path / "run"))
    best = load_checkpoint(folders[1])
    assert best.best_return == 20
    # the checkpoint of iteration 4 is of the collapsed policy; what came after grew from the best
    versions = [weights.version for weights in evaluated]
    assert versions == list(range(1, len(versions) + 1))


def test_the_best_return_is_known_to_a_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns = iter([10.0, 20.0, 15.0, 9.0, 19.0, *[1.0] * 100])

    def begin(self: Evaluator, weights: Weights, attributes: Any) -> Evaluation:
        return Evaluation([next(returns)], [1])

    monkeypatch.setattr(Evaluator, "begin", begin)
    settings = {**SHAPE, "num_workers": 0, "eval_every": 1, "keep_checkpoints": 1}
    run = RunDir(tmp_path / "run")
    train(config_of(settings), make_env=FaultyWithState, run_dir=run.path, quiet=True)
    best = (run.checkpoints / "best").resolve()
    assert load_checkpoint(best).best_return == 20
    resume(run.path, make_env=FaultyWithState, total_steps=600, quiet=True)
    assert (run.checkpoints / "best").resolve() == best
    assert best in list_checkpoints(run)


def test_the_fault_counter_counts_and_says_what_is_new() -> None:
    said: list[str] = []
    counter = FaultCounter(0, 10, lambda: {"rollbacks": 7}, FaultEvents(said.append))
    scalars: dict[str, float] = {}
    for restarts in (0, 1, 1):
        faults = ProcessFaults(worker_restarts=restarts)
        torn = Progress(dropped={"env_fault": 3}, env_faults=1, last_fault="slot 0: on fire")
        scalars = counter.on_iteration(iteration_of(torn, faults=faults))
    assert said == ["an environment failed, its episode is dropped: slot 0: on fire"]
    assert scalars["faults/worker_restarts"] == 1
    assert scalars["faults/rollbacks"] == 7
    assert scalars["faults/dropped/env_fault"] == scalars["faults/dropped_steps"] == 3
    # in each, one worker is slow, and the other waits 2 s for it
    assert scalars["faults/stragglers"] == 3
    assert scalars["faults/barrier_wait_s/1"] == 6.0
    assert counter.summary() == {
        "worker_restarts": 1,
        "learner_restarts": 0,
        "lost_with_node": 0,
        "reissued_slots": 0,
        "rollbacks": 7,
        "stragglers": 3,
        "barrier_wait_s": [0.0, 6.0],
    }


def test_what_is_rolled_back_to_is_what_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returns = iter([20.0])
    settings = {**SHAPE, "num_workers": 0, "eval_every": 1, "rollback_on_collapse": 0.5}

    def begin(self: Evaluator, weights: Weights, attributes: Any) -> Evaluation:
        return Evaluation([next(returns, 1.0)], [1])

    monkeypatch.setattr(Evaluator, "begin", begin)
    config = config_of({**settings, "checkpoint_every": 1, "keep_checkpoints": 100})
    outcome = train(config, make_env=FaultyWithState, run_dir=tmp_path / "run", quiet=True)
    assert outcome.result["rollbacks"] > 0
    run = RunDir(tmp_path / "run")
    first, last = (load_checkpoint(list_checkpoints(run)[place]) for place in (0, -1))
    # the first evaluation was the best, and no later one above it
    assert first.best_return == 20
    assert_same(last.learner.policy.arrays, first.learner.policy.arrays)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_batch_without_a_valid_step_changes_nothing(overlap: bool) -> None:
    run, twin = (Run(**TINY, normalize_rewards=True, overlap=overlap) for _ in range(2))
    run.iterate()
    twin.iterate()
    rollouts = run.collect()
    empty = [dataclasses.replace(x, valid=np.zeros_like(x.valid)) for x in rollouts]
    weights, update = run.learner.update(empty)
    assert (update.scalars, update.rolled_back) == ({}, False)
    # with overlap, what was collected meanwhile and what comes next are of the same weights
    assert_same(weights.arrays, run.learner.acting_weights().arrays)
    assert run.learner.state().counters == twin.learner.state().counters
    run.learner.update(rollouts)
    twin.learner.update(twin.collect())
    assert_same(run.learner.state().arrays, twin.learner.state().arrays)
