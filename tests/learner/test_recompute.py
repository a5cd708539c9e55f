"""Advantages that are estimated again before each epoch but the first."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from distpg.gradient.losses import Coefficients
from distpg.learner.epochs import value_again
from distpg.learner.learner import Learner
from distpg.learner.minibatches import Samples, Targets
from distpg.records import Batch, Rollout
from tests.learner.runs import LONG, Run, assert_same_state, differ, seen
from tests.learner.test_critic_memory import HIDDEN, TWO_LAYERS, step_by_step
from tests.learner.test_estimators import IMAGES

RECOMPUTED: dict[str, Any] = {**LONG, "recompute_advantages": True, "num_epochs": 3}


def watch(
    learner: Learner, monkeypatch: pytest.MonkeyPatch, note: Callable[[Targets], None]
) -> None:
    """Have `note` called with the targets that a learner turns to."""
    begin = learner.steps.begin

    def noted(samples: Samples, targets: Targets, now: Coefficients) -> None:
        note(targets)
        begin(samples, targets, now)

    monkeypatch.setattr(learner.steps, "begin", noted)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"advantage": "n_step", "minibatch_size": None, "value_clip": 0.1},
        {"advantage": "reward_to_go", "normalize_rewards": True, "loss_average": "per_episode"},
        {"advantage": "total_return", "episodes_per_env": 2},
        {"algo": "appo"},
        {"algo": "ppo_kl"},
        {**HIDDEN, "recurrent_critic": "shared"},
        TWO_LAYERS,
        {**IMAGES, "minibatch_size": 4},
    ],
    ids=[
        *("gae", "n-step", "reward-to-go", "total return", "old rollouts", "kl"),
        *("lstm", "own lstm", "images"),
    ],
)
def test_while_nothing_moves_they_are_the_first_ones_bit_for_bit(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # after the first update the learning rate is 0
    run = Run(**{**RECOMPUTED, **settings, "lr_schedule": "linear", "total_steps": 1})
    old = run.collect()
    run.iterate()
    found: list[Targets] = []
    watch(run.learner, monkeypatch, found.append)
    run.learner.update(old if run.config.overlap else run.collect())
    first, *others = found
    assert len(others) == 2
    for targets in others:
        assert torch.equal(targets.advantages, first.advantages)
        assert torch.equal(targets.returns, first.returns)


@pytest.mark.parametrize(
    ("settings", "differs"),
    [
        ({"num_epochs": 3}, True),
        ({"num_epochs": 1}, False),
        ({"num_epochs": 1, "value_epochs": 2}, False),
        ({"num_epochs": 3, "advantage": "reward_to_go", "baseline": "mean"}, False),
        ({"num_epochs": 1, "algo": "trpo"}, False),
    ],
    ids=str,
)
def test_they_differ_from_the_second_epoch_on_if_there_is_a_critic(
    settings: dict[str, Any], differs: bool
) -> None:
    run = Run(**{**LONG, **settings})
    other = run.make_learner(recompute_advantages=True)
    rollouts = run.collect()
    run.learner.update(rollouts)
    other.update(rollouts)
    if differs:
        assert differ(other.weights().arrays, run.learner.weights().arrays)
    else:
        assert_same_state(other.state(), run.learner.state())


@torch.no_grad()
def credit_by_definition(learner: Learner, rollouts: list[Rollout]) -> tuple[Any, Any]:
    """Sum TD errors step by step, of the critic as it is now; return advantages and targets."""
    config, advantages, values = learner.config, list[np.ndarray](), list[np.ndarray]()
    for rollout in rollouts:
        obs = learner.policy.normalizer({"obs": torch.tensor(rollout.obs["obs"])})
        v = learner.model.values(obs).numpy()
        table, ahead = np.zeros_like(v[:-1]), np.zeros_like(v[0])
        for t in reversed(range(len(table))):
            next_v = np.where(rollout.terminated[t], 0, v[t + 1])
            errors = rollout.rewards[t] + config.gamma * next_v - v[t]
            ended = rollout.terminated[t] | rollout.truncated[t]
            ahead = errors + config.gamma * config.gae_lambda * np.where(ended, 0, ahead)
            table[t] = ahead
        advantages.append(table)
        values.append(v[:-1])
    valid = np.concatenate([rollout.valid for rollout in rollouts], 1)
    found = np.concatenate(advantages, 1)[valid]
    return found, found + np.concatenate(values, 1)[valid]


def test_each_epoch_takes_the_values_of_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(**RECOMPUTED, normalize_advantages=False, learning_rate=0.01)
    run.iterate()
    rollouts = run.collect()
    # as if a time limit had ended the episodes of one slot
    ended = rollouts[1].terminated.copy()
    assert ended.any()
    assert rollouts[0].terminated.any()
    rollouts[1].truncated[:], rollouts[1].terminated[:] = ended, False
    epochs: list[tuple[Targets, Any, Any]] = []
    watch(
        run.learner,
        monkeypatch,
        lambda targets: epochs.append((targets, *credit_by_definition(run.learner, rollouts))),
    )
    run.learner.update(rollouts)
    assert len(epochs) == 3
    for targets, advantages, returns in epochs:
        np.testing.assert_allclose(targets.advantages.numpy(), advantages, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(targets.returns.numpy(), returns, rtol=1e-4, atol=1e-4)
    for (one, *_), (other, *_) in pairwise(epochs):
        assert (one.advantages - other.advantages).abs().mean() > 0.01


def test_a_recurrent_critic_is_unrolled_again_from_the_state_that_the_batch_began_with() -> None:
    run = Run(**TWO_LAYERS)
    run.iterate()
    rollouts = run.collect()
    batch, (_, before) = Batch.join(rollouts, run.learner.device), seen(run.learner, rollouts)
    began = run.learner.critic_memory.kept["state"]
    assert began.any()
    with torch.no_grad():
        for parameter in run.learner.model.parameters():
            parameter.mul_(1.2)
        expected, _ = step_by_step(run, batch, began * batch.state.any(-1, keepdim=True))
    after = value_again(run.learner, batch, before)
    valid = batch.valid
    assert_close(after.values[valid], expected[:-1][valid])
    assert_close(after.next_values[valid], expected[1:][valid])
    assert (after.values - before.values).abs().max() > 0.01
