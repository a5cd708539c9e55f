"""The learner's gradients of all possible batches, in float64, and of batches that workers collect.

Many estimators share intermediate results, so most functions are cached. K possible batches, M
collected batches, P parameters, S decision nodes, A actions.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distpg.gradient.trajectories import Trajectories
from distpg.learner.diagnosis import policy_gradient
from distpg.learner.learner import Learner
from distpg.learner.minibatches import Samples, Targets
from distpg.learner.objective import compute_targets
from distpg.proof.estimators import Estimator
from distpg.proof.scene import NUM_EPISODES, Scene
from distpg.records import Batch, Rollout

CPU = torch.device("cpu")
Observed = Sequence[tuple[Samples, Trajectories]]
"""What `Learner.observe` returns, for each batch."""
Key = tuple[tuple[str, Any], ...]
"""Settings of an estimator, hashable."""


def exact_gradients(estimator: Estimator) -> Tensor:
    """Return the learner's gradient of every possible batch, in float64, [K, P]."""
    return gradients_by_settings(key_of(estimator), estimator.scene)


def key_of(estimator: Estimator) -> Key:
    """Return an estimator's settings as a key."""
    return tuple(sorted(estimator.settings.items()))


@lru_cache(maxsize=16)
def gradients_by_settings(key: Key, scene: Scene) -> Tensor:
    """Return `exact_gradients` of settings given as a key."""
    estimator = Estimator(dict(key), scene)
    observed, _ = observe_all(scene, has_critic(estimator))
    with double_precision():
        return gradients_of(estimator, observed, targets_of(estimator, observed))


def scaled_gradients(estimator: Estimator) -> Tensor:
    """Return what scaling must give for the unscaled gradient of every possible batch, [K, P].

    Without scaling, a batch's gradient is the sum over its steps of Psi * score, divided by the
    number of episodes; a score is grad log pi. With normalized advantages it is
    (gradient - mean(Psi) * sum of scores) / std(Psi). Averaged per step, the sum is divided by the
    number of steps.
    """
    plain = estimator.plain
    lengths, means, stds, scores = plain_statistics(key_of(plain), plain.scene)
    gradients = exact_gradients(plain)
    if estimator.settings["normalize_advantages"]:
        gradients = (gradients - means * scores) / (stds + 1e-8)
    if estimator.settings["loss_average"] == "per_step":
        gradients = gradients / lengths
    return gradients


@lru_cache(maxsize=16)
def plain_statistics(key: Key, scene: Scene) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute statistics of every possible batch for an estimator without scaling.

    Returns:
        lengths: [K, 1] steps per episode.
        means: [K, 1] of Psi.
        stds: [K, 1] of Psi.
        scores: [K, P] the gradient if Psi were 1 for every step.
    """
    plain, rows = Estimator(dict(key), scene), list[tuple[Tensor, ...]]()
    observed, _ = observe_all(scene, has_critic(plain))
    with double_precision():
        learner = scene.learner(plain.config)
        for samples, trajectories in observed:
            targets = compute_targets(learner.config, learner.policy, samples, trajectories)
            length = len(samples) / NUM_EPISODES
            psi = targets.advantages / length
            ones = replace(targets, advantages=torch.full_like(psi, length))
            scores = in_tabular_logits(policy_gradient(learner, samples, ones), scene)
            statistics = (psi.new_tensor(length), psi.mean(), psi.std(correction=0))
            rows.append((*(value.view(1) for value in statistics), scores))
    lengths, means, stds, scores = (torch.stack(x) for x in zip(*rows, strict=True))
    return lengths, means, stds, scores


def sampled_gradients(estimator: Estimator, num_batches: int) -> Tensor:
    """Return the learner's gradients of the first batches that workers collect, [M, P]."""
    indices = sampled_batches(estimator.scene.truncated).first(num_batches)
    observed = observe_sampled(estimator.scene, has_critic(estimator), max(indices) + 1)
    same = estimator.with_same_targets
    targets = sampled_targets(key_of(same), estimator.scene, len(observed))
    return gradients_of(estimator, observed, targets).double()[indices]


@lru_cache(maxsize=8)
def sampled_targets(key: Key, scene: Scene, count: int) -> Sequence[Targets]:
    """Compute the targets of the first `count` distinct batches that workers collect."""
    estimator = Estimator(dict(key), scene)
    return targets_of(estimator, observe_sampled(scene, has_critic(estimator), count))


def has_critic(estimator: Estimator) -> bool:
    """Return whether the estimator has a critic."""
    return estimator.config.baseline == "value"


def targets_of(estimator: Estimator, observed: Observed) -> Sequence[Targets]:
    """Compute the targets of each batch."""
    learner = estimator.scene.learner(estimator.config)
    return [
        compute_targets(learner.config, learner.policy, samples, trajectories)
        for samples, trajectories in observed
    ]


def gradients_of(estimator: Estimator, observed: Observed, targets: Sequence[Targets]) -> Tensor:
    """Compute each batch's gradient in tabular logits, [M, S * A]."""
    learner = estimator.scene.learner(estimator.config)
    rows = [
        in_tabular_logits(policy_gradient(learner, samples, own_targets), estimator.scene)
        for (samples, _), own_targets in zip(observed, targets, strict=True)
    ]
    return torch.stack(rows)


def in_tabular_logits(gradient: Mapping[str, Tensor], scene: Scene) -> Tensor:
    """Return a gradient by parameter as one in the logits of the decision nodes, [S * A]."""
    return gradient["head.weight"][:, scene.numbers].T.flatten()


@cache
def observe_all(scene: Scene, critic: bool) -> tuple[Observed, Tensor]:
    """Observe every possible batch in float64, once for all estimators.

    Returns:
        What the learner observes of each of the K batches, and their probabilities [K].
    """
    rollouts, probabilities = scene.every_batch()
    with double_precision():
        learner = observer(scene, critic)
        return [learner.observe(Batch.join([rollout], CPU)) for rollout in rollouts], probabilities


class SampledBatches:
    """Batches that rollout workers collect, as many as needed so far.

    The game is small, so many batches are equal to the last bit; only distinct ones are kept.
    """

    def __init__(self, scene: Scene) -> None:
        """Make the source of batches; nothing is collected yet."""
        self.source = scene.collect()
        self.distinct: dict[bytes, list[Rollout]] = {}
        self.indices: list[int] = []
        """Of each batch collected so far, its index among the distinct ones."""

    def first(self, count: int) -> list[int]:
        """Return the indices of the first `count` batches among the distinct ones."""
        index_of = {key: index for index, key in enumerate(self.distinct)}
        for rollouts in islice(self.source, max(0, count - len(self.indices))):
            key = b"".join(content(rollout) for rollout in rollouts)
            self.distinct.setdefault(key, rollouts)
            self.indices.append(index_of.setdefault(key, len(index_of)))
        return self.indices[:count]


def content(rollout: Rollout) -> bytes:
    """Return the bytes of everything that is valid in a rollout, with the last observations."""
    valid = rollout.valid
    observed = np.pad(valid, ((0, 1), (0, 0))) | np.pad(valid, ((1, 0), (0, 0)))
    arrays = [*(array * valid for array in (rollout.actions, rollout.logprobs, rollout.rewards))]
    arrays += [rollout.terminated, rollout.truncated, valid]
    arrays += [leaf * observed for leaf in rollout.obs.values()]
    return b"|".join(array.tobytes() for array in arrays)


@cache
def sampled_batches(truncated: bool) -> SampledBatches:
    """Return the batches of one of the two games, collected once for all estimators."""
    return SampledBatches(Scene(truncated=truncated))


@cache
def observe_sampled(scene: Scene, critic: bool, count: int) -> Observed:
    """Observe the first `count` distinct batches that workers collect."""
    learner = observer(scene, critic)
    distinct = islice(sampled_batches(scene.truncated).distinct.values(), count)
    return [learner.observe(Batch.join(rollouts, CPU)) for rollouts in distinct]


def observer(scene: Scene, critic: bool) -> Learner:
    """Return a learner whose `observe` computes everything that any estimator needs."""
    settings = {"advantage": "reward_to_go", "baseline": "value" if critic else "none"}
    return scene.learner(scene.config(**settings, surrogate="kl_fixed"))


@contextmanager
def double_precision() -> Generator[None]:
    """Context manager: make networks in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
