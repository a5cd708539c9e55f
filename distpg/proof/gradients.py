"""What the learner makes of batches: of every one there is, exactly, and of those workers play.

Much is shared between estimators, so most functions remember what they have computed.
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


def exact_gradients(estimator: Estimator) -> Tensor:
    """Return the learner's gradient of every batch, in float64, [K, P]."""
    return gradients_by_settings(key_of(estimator), estimator.scene)


Key = tuple[tuple[str, Any], ...]
"""Settings of an estimator as a value that can be remembered."""


def key_of(estimator: Estimator) -> Key:
    """Return an estimator's settings as a key."""
    return tuple(sorted(estimator.settings.items()))


@lru_cache(maxsize=16)
def gradients_by_settings(key: Key, scene: Scene) -> Tensor:
    """Return the same for settings as a key."""
    estimator = Estimator(dict(key), scene)
    observed, _ = every_observed(scene, has_critic(estimator))
    with double_precision():
        return gradients_of(estimator, observed, credits_of(estimator, observed))


def scaled_gradients(estimator: Estimator) -> Tensor:
    """Return what the scaling should make of the gradient of every batch without it, [K, P].

    Without it, a batch's gradient is the sum over its steps of Psi times score, over its episodes.
    Normalized, it is (that - mean Psi * sum of scores) / deviation of Psi; averaged per step, the
    sum is divided by the number of steps.
    """
    plain = estimator.plain
    lengths, means, deviations, scores = plain_statistics(key_of(plain), plain.scene)
    gradients = exact_gradients(plain)
    if estimator.settings["normalize_advantages"]:
        gradients = (gradients - means * scores) / (deviations + 1e-8)
    if estimator.settings["loss_average"] == "per_step":
        gradients = gradients / lengths
    return gradients


@lru_cache(maxsize=16)
def plain_statistics(key: Key, scene: Scene) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Measure every batch of an estimator without scaling, as columns [K, 1] and [K, P].

    Steps over episodes, mean and deviation of Psi, and the gradient if every Psi were 1.
    """
    plain, rows = Estimator(dict(key), scene), list[tuple[Tensor, ...]]()
    observed, _ = every_observed(scene, has_critic(plain))
    with double_precision():
        learner = scene.learner(plain.config)
        for samples, trajectories in observed:
            credit, length = (
                compute_targets(learner.config, learner.policy, samples, trajectories),
                len(samples) / NUM_EPISODES,
            )
            psi = credit.advantages / length
            ones = replace(credit, advantages=torch.full_like(psi, length))
            scores = tabular(policy_gradient(learner, samples, ones), scene)
            statistics = (psi.new_tensor(length), psi.mean(), psi.std(correction=0))
            rows.append((*(value.view(1) for value in statistics), scores))
    lengths, means, deviations, scores = (torch.stack(x) for x in zip(*rows, strict=True))
    return lengths, means, deviations, scores


def sampled_gradients(estimator: Estimator, batches: int) -> Tensor:
    """Return the learner's gradients of the first batches that the workers played, [M, P]."""
    places = plays(estimator.scene.truncated).first(batches)
    observed = sampled_observed(estimator.scene, has_critic(estimator), max(places) + 1)
    credits = sampled_credits(key_of(estimator.credited_alike), estimator.scene, len(observed))
    return gradients_of(estimator, observed, credits).double()[places]


@lru_cache(maxsize=8)
def sampled_credits(key: Key, scene: Scene, count: int) -> Sequence[Targets]:
    """Credit the first of the different batches that workers played."""
    estimator = Estimator(dict(key), scene)
    return credits_of(estimator, sampled_observed(scene, has_critic(estimator), count))


def has_critic(estimator: Estimator) -> bool:
    """Tell whether V is there to stand in where an episode is cut."""
    return estimator.config.baseline == "value"


Observed = Sequence[tuple[Samples, Trajectories]]


def credits_of(estimator: Estimator, observed: Observed) -> Sequence[Targets]:
    """Credit each batch."""
    learner = estimator.scene.learner(estimator.config)
    return [
        compute_targets(learner.config, learner.policy, samples, trajectories)
        for samples, trajectories in observed
    ]


def gradients_of(estimator: Estimator, observed: Observed, credits: Sequence[Targets]) -> Tensor:
    """Compute each batch's gradient in tabular logits, [M, S * A]."""
    learner = estimator.scene.learner(estimator.config)
    rows = [
        tabular(policy_gradient(learner, samples, credit), estimator.scene)
        for (samples, _), credit in zip(observed, credits, strict=True)
    ]
    return torch.stack(rows)


def tabular(gradient: Mapping[str, Tensor], scene: Scene) -> Tensor:
    """Return the gradient in the logits of the nodes, [S * A]."""
    return gradient["head.weight"][:, scene.numbers].T.flatten()


@cache
def every_observed(scene: Scene, critic: bool) -> tuple[Observed, Tensor]:
    """Value and sort every batch, once for all estimators, in float64."""
    rollouts, probabilities = scene.every_batch()
    with double_precision():
        learner = observer(scene, critic)
        return [learner.observe(Batch.join([rollout], CPU)) for rollout in rollouts], probabilities


class Plays:
    """Batches that rollout workers play, as many as have been asked for.

    The game is small, so many are alike, to the last bit; one of them is kept, and learned from.
    """

    def __init__(self, scene: Scene) -> None:
        """Play nothing yet."""
        self.source = scene.play()
        self.different: dict[bytes, list[Rollout]] = {}
        self.places: list[int] = []

    def first(self, count: int) -> list[int]:
        """Return which of the different ones each of the first so many batches is."""
        numbers = {key: place for place, key in enumerate(self.different)}
        for rollouts in islice(self.source, max(0, count - len(self.places))):
            key = b"".join(content(rollout) for rollout in rollouts)
            self.different.setdefault(key, rollouts)
            self.places.append(numbers.setdefault(key, len(numbers)))
        return self.places[:count]


def content(rollout: Rollout) -> bytes:
    """Return everything that means something in a rollout: the valid steps and where they led."""
    valid = rollout.valid
    seen = np.pad(valid, ((0, 1), (0, 0))) | np.pad(valid, ((1, 0), (0, 0)))
    arrays = [*(array * valid for array in (rollout.actions, rollout.logprobs, rollout.rewards))]
    arrays += [rollout.terminated, rollout.truncated, valid]
    arrays += [leaf * seen for leaf in rollout.obs.values()]
    return b"|".join(array.tobytes() for array in arrays)


@cache
def plays(truncated: bool) -> Plays:
    """Have each game played once for all estimators."""
    return Plays(Scene(truncated=truncated))


@cache
def sampled_observed(scene: Scene, critic: bool, count: int) -> Observed:
    """Value and sort the first of the different batches that workers played."""
    learner = observer(scene, critic)
    different = islice(plays(scene.truncated).different.values(), count)
    return [learner.observe(Batch.join(rollouts, CPU)) for rollouts in different]


def observer(scene: Scene, critic: bool) -> Learner:
    """Make a learner that notes everything that an estimator may ask for."""
    settings = {"advantage": "reward_to_go", "baseline": "value" if critic else "none"}
    return scene.learner(scene.config(**settings, surrogate="kl_fixed"))


@contextmanager
def double_precision() -> Generator[None]:
    """Make networks in float64 within the block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
