"""A learner and the slots that play for it, and what tests ask of both."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from distpg.envs.make import EnvSource, find_env
from distpg.gradient.trajectories import Trajectories
from distpg.learner import diagnosis
from distpg.learner.learner import Learner
from distpg.learner.minibatches import Samples, Targets
from distpg.learner.objective import compute_targets
from distpg.records import Batch, LearnerState, Rollout, Weights
from distpg.rollout.worker import RolloutWorker
from tests.settings import config_of

TINY: dict[str, Any] = {
    "num_workers": 0,
    "num_slots": 2,
    "num_envs": 2,
    "num_steps": 8,
    "minibatch_size": 8,
    "num_epochs": 2,
    "hidden_sizes": (16,),
    "seed": 1,
}
ONE_STEP: dict[str, Any] = {"num_epochs": 1, "minibatch_size": None, "max_grad_norm": 1e6}
"""The whole batch in one gradient, which reaches the optimizer as it is."""
LONG: dict[str, Any] = {"num_steps": 40, "minibatch_size": 64}
"""Rollouts in which episodes end, so that some rows are not valid."""


class Run:
    """A learner and the slots that play for it."""

    def __init__(self, **settings: Any) -> None:
        env_id = settings.setdefault("env_id", "CartPole-v1")
        source: EnvSource | None = settings.pop("source", None)
        self.config = config_of({**TINY, **settings})
        source = source or find_env(env_id, self.config.env_kwargs)
        self.slots = [RolloutWorker(self.config, source, n) for n in range(self.config.slots)]
        self.learner = self.make_learner()

    def make_learner(self, **settings: Any) -> Learner:
        """Make another learner for the same envs; some settings may differ."""
        envs = self.slots[0].envs
        config = dataclasses.replace(self.config, **settings)
        return Learner(config, envs.obs_spec, envs.action_spec)

    def collect(self) -> list[Rollout]:
        """Play with the learner's weights."""
        weights = self.learner.weights()
        return [slot.collect(weights, weights.version).rollout for slot in self.slots]

    def iterate(self) -> dict[str, float]:
        """Collect and update; return the scalars."""
        _, update = self.learner.update(self.collect())
        assert not update.rolled_back, update.scalars
        return update.scalars


def parameters(weights: Weights) -> dict[str, np.ndarray]:
    """Leave the normalizer out."""
    return {n: a for n, a in weights.arrays.items() if not n.startswith("normalizer")}


def assert_same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def assert_same_state(one: LearnerState, other: LearnerState) -> None:
    assert_same(one.policy.arrays, other.policy.arrays)
    assert_same(one.arrays, other.arrays)
    assert one.counters == other.counters
    assert one.policy.version == other.policy.version


def differ(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return any(not np.array_equal(array, other[name]) for name, array in one.items())


def norm(arrays: Mapping[str, np.ndarray]) -> float:
    return float(
        np.sqrt(sum(np.square(array.astype(np.float64)).sum() for array in arrays.values()))
    )


def seen(learner: Learner, rollouts: list[Rollout]) -> tuple[Samples, Trajectories]:
    """Value rollouts as the learner stands now."""
    return learner.observe(Batch.join(rollouts, learner.device))


def targets_of(learner: Learner, samples: Samples, trajectories: Trajectories) -> Targets:
    """Say how samples are learned from as the learner stands now."""
    return compute_targets(learner.config, learner.policy, samples, trajectories)


def policy_gradient(learner: Learner, rollouts: list[Rollout]) -> dict[str, np.ndarray]:
    """Return where the surrogate sends the policy's parameters, as arrays by name."""
    samples, trajectories = seen(learner, rollouts)
    return arrays_of(
        diagnosis.policy_gradient(learner, samples, targets_of(learner, samples, trajectories))
    )


def arrays_of(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy(force=True) for name, tensor in tensors.items()}


def assert_close(
    one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], atol: float = 1e-6
) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=1e-4, atol=atol, err_msg=name)
