"""Rollouts that are collected ahead: by whose weights, and what becomes of those left over."""

from typing import Any

import numpy as np
import pytest

from distpg.config.config import Config
from distpg.envs.make import find_env
from distpg.errors import InputError, RunError
from distpg.iteration import Scalars
from distpg.learner.learner import Learner
from distpg.learner.objective import compute_targets
from distpg.progress import Progress
from distpg.records import Rollout
from distpg.rollout.in_process import InProcessWorkers
from distpg.train import StopCondition, train_loop
from tests.iterations import no_evaluation
from tests.learner.runs import LONG, Run, assert_same, differ, seen
from tests.settings import config_of


class Watched(Learner):
    """Notes what it learns from."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.batches: list[list[Rollout]] = []
        self.scalars: list[Scalars] = []

    def update(self, rollouts: Any) -> Any:
        self.batches.append(rollouts)
        weights, update = super().update(rollouts)
        self.scalars.append(update.scalars)
        return weights, update


def trained(**settings: Any) -> tuple[Watched, Progress]:
    config = config_of(
        {"num_workers": 0, "num_slots": 2, "num_envs": 2, "num_steps": 32, "total_steps": 500}
        | settings
    )
    workers = InProcessWorkers(config, find_env("CartPole-v1", {}))
    envs = workers.slots[0].envs
    learner = Watched(config, envs.obs_spec, envs.action_spec)
    stop = StopCondition(config.total_steps)
    progress, _ = train_loop(
        workers, learner, stop, no_evaluation, [], Progress(), overlap=config.overlap
    )
    return learner, progress


@pytest.mark.parametrize("overlap", [False, True])
def test_each_batch_is_collected_with_the_weights_before_the_current_update(
    overlap: bool,
) -> None:
    learner, _ = trained(overlap=overlap)
    acted = [rollout.policy_version for batch in learner.batches for rollout in batch]
    count = len(learner.batches)
    versions = [max(0, k - 1) for k in range(count)] if overlap else list(range(count))
    assert acted == [version for version in versions for _ in range(2)]
    ages = [scalars["train/staleness"] for scalars in learner.scalars]
    assert ages == [k - version for k, version in enumerate(versions)]


def test_what_was_collected_ahead_when_the_run_stops_is_counted_as_dropped() -> None:
    learner, progress = trained(overlap=True)
    assert progress.env_steps == learner.trained_steps
    # one batch: 2 slots x 2 envs x 32 steps, but for the steps that reset
    assert 0.8 * 128 < progress.dropped_steps <= 128
    assert trained(overlap=False)[1].dropped_steps == 0


def test_the_ratio_to_the_weights_that_acted_is_measured_and_not_refused() -> None:
    learner, _ = trained(overlap=True, learning_rate=3e-3)
    first, *later = [scalars["train/on_policy_max"] for scalars in learner.scalars]
    assert first < 1e-3
    assert all(value > 1e-2 for value in later)


def test_a_batch_two_updates_old_is_refused() -> None:
    run = Run(overlap=True)
    rollouts = run.collect()
    run.iterate()
    run.learner.update(rollouts)
    with pytest.raises(RunError, match=r"slot 0 acted with version 0 .* is at version 2"):
        run.learner.update(rollouts)


def test_vtrace_corrects_old_rollouts_where_gae_does_not() -> None:
    run = Run(**LONG, algo="appo", learning_rate=0.01)
    rollouts = run.collect()
    run.iterate()
    samples, trajectories = seen(run.learner, rollouts)
    plain = run.make_learner(advantage="gae", gae_lambda=1.0)
    plain.load(run.learner.state())
    corrected, uncorrected = (
        compute_targets(one.config, one.policy, samples, trajectories)
        for one in (run.learner, plain)
    )
    moved = (corrected.returns - uncorrected.returns).abs().max()
    assert moved > 0.05
    # on rollouts of its own it has nothing to correct
    own, trajectories = seen(run.learner, run.collect())
    same, gae = (
        compute_targets(one.config, one.policy, own, trajectories).returns
        for one in (run.learner, plain)
    )
    np.testing.assert_allclose(same.numpy(), gae.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("algo", ["a2c", "reinforce", "ppo_kl", "trpo", "npg"])
def test_what_is_right_for_its_own_rollouts_alone_refuses_older_ones(algo: str) -> None:
    with pytest.raises(InputError, match="--overlap: rollouts are one update old"):
        Config(algo=algo, overlap=True)


def test_the_same_run_twice_is_the_same() -> None:
    one, other = (trained(algo="appo")[0].weights().arrays for _ in range(2))
    assert_same(one, other)
    assert differ(one, trained(algo="appo", overlap=False)[0].weights().arrays)


@pytest.mark.parametrize("overlap", [False, True])
def test_every_iteration_is_collected_once_in_its_turn(
    monkeypatch: pytest.MonkeyPatch, overlap: bool
) -> None:
    collect, asked = InProcessWorkers.collect, list[int]()

    def watched(self: InProcessWorkers, weights: Any, iteration: int) -> Any:
        asked.append(iteration)
        return collect(self, weights, iteration)

    monkeypatch.setattr(InProcessWorkers, "collect", watched)
    learner, _ = trained(overlap=overlap)
    assert asked == list(range(len(learner.batches) + overlap))


def test_a_learner_knows_who_acted_before_its_last_update_also_after_it_was_loaded() -> None:
    run = Run(**LONG, overlap=True)
    run.iterate()
    before = run.learner.weights()
    run.iterate()
    loaded = run.make_learner()
    loaded.load(run.learner.state())
    for learner in (run.learner, loaded):
        acting = learner.acting_weights()
        assert acting.version == before.version == learner.weights().version - 1
        assert_same(acting.arrays, before.arrays)
