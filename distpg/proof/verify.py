"""One estimator against theory: its exact expectation, and what real workers and learner sample."""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from distpg.gradient.paths import Paths
from distpg.learner.learner import Learner
from distpg.learner.minibatches import Credit, Samples
from distpg.proof.estimators import PLAIN, Estimator
from distpg.proof.scene import NUM_EPISODES, Scene
from distpg.proof.theory import aim, expectation
from distpg.records import Batch, Rollout

EXACT = 1e-10
"""Distance that counts as none."""
SCALED_EXACT = 1e-6
"""The same where Psi that is all equal, but for float64's rounding, was divided by 1e-8."""
MAX_Z = 4.0
MAX_STANDARD_ERROR = 0.02
"""Of the sampled mean, relative to the norm of the exact one."""
MIN_COSINE = 0.9
"""Between the true gradient and one that statistics of the batch have scaled."""
MAX_BATCHES = 40_000
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """What was found of an estimator; numbers of a batch of 4 episodes."""

    estimator: str
    verdict: Literal["PASS", "FAIL"]
    reasons: list[str]
    """What failed."""
    bias: float
    """Distance of the exact expectation from the true gradient, relative to its norm."""
    theory: float | None
    """What theory says the bias is; None where statistics of the batch scale the gradient."""
    cosine: float
    """Between the exact expectation and the true gradient."""
    z: float
    """The largest |z| of a component of the sampled mean."""
    standard_error: float
    """Of the sampled mean, relative to the norm of the exact one."""
    variance: float
    """Of a batch's gradient, exactly: the trace of the covariance."""
    sampled_variance: float
    variance_z: float
    """|z| of the sampled variance."""
    snr: float
    """Norm of the exact expectation over the standard deviation of a batch's gradient."""
    reduction: float
    """Variance of plain REINFORCE on the same game over this one's, each relative to its squared
    expectation."""
    batches: int
    """Sampled."""


@dataclass(frozen=True)
class Moments:
    """Exact moments of a batch's gradient [P]."""

    mean: Tensor
    variance: float
    fourth: float
    """Of the distance from the mean."""

    @property
    def noise(self) -> float:
        """Variance relative to the squared norm of the mean."""
        return self.variance / float(self.mean.square().sum())


def verify(estimator: Estimator) -> Row:
    """Prove an estimator, or find where it fails."""
    truth = aim(estimator).flatten()
    exact = moments(estimator)
    bias = float((exact.mean - truth).norm() / truth.norm())
    cosine = float(torch.cosine_similarity(exact.mean, truth, dim=0))
    theory = None
    reasons: list[str] = []
    stated = expectation(estimator.plain).flatten()
    distance = float((moments(estimator.plain).mean - stated).norm())
    if not distance < EXACT:
        reasons.append(f"the expectation is {distance:.2g} from what theory says")
    if estimator.is_scaled:
        off = float((exact_gradients(estimator) - scaled_gradients(estimator)).abs().max())
        if not off < SCALED_EXACT:
            reasons.append(f"a batch's gradient is {off:.2g} from what its scaling makes of it")
        if not cosine > MIN_COSINE:
            reasons.append(f"the expectation points elsewhere: cosine {cosine:.3f}")
    else:
        theory = float((stated - truth).norm() / truth.norm())

    batches = math.ceil(min(MAX_BATCHES, exact.noise / (0.95 * MAX_STANDARD_ERROR) ** 2))
    sampled = sampled_gradients(estimator, batches)
    error = sampled.std(0) / math.sqrt(batches)
    # what never moves differs by float32's rounding alone
    z = float(((sampled.mean(0) - exact.mean).abs() / error.clamp(min=1e-7)).max())
    standard_error = math.sqrt(exact.noise / batches)
    variance = float(sampled.var(0).sum())
    variance_error = math.sqrt((exact.fourth - exact.variance**2) / batches)
    variance_z = abs(variance - exact.variance) / variance_error
    if not z < MAX_Z:
        reasons.append(f"the sampled mean has |z| {z:.1f}")
    if not standard_error < MAX_STANDARD_ERROR:
        reasons.append(f"the standard error of the sampled mean is {standard_error:.1%}")
    if not variance_z < MAX_Z:
        reasons.append(f"the sampled variance has |z| {variance_z:.1f}")
    return Row(
        estimator=estimator.name,
        verdict="FAIL" if reasons else "PASS",
        reasons=reasons,
        bias=bias,
        theory=theory,
        cosine=cosine,
        z=z,
        standard_error=standard_error,
        variance=exact.variance,
        sampled_variance=variance,
        variance_z=variance_z,
        snr=exact.noise**-0.5,
        reduction=reinforce_noise(estimator.scene) / exact.noise,
        batches=batches,
    )


def reinforce_noise(scene: Scene) -> float:
    """Return the relative variance of plain REINFORCE: total return, no baseline, own actions."""
    played = replace(scene, off_policy=False, wrong_critic=False)
    plain = {"advantage": "total_return", "baseline": "none", **PLAIN}
    return moments(Estimator(plain, played)).noise


def moments(estimator: Estimator) -> Moments:
    """Weigh every batch with its probability, in float64."""
    _, probabilities = every_observed(estimator.scene, has_critic(estimator))
    gradients = exact_gradients(estimator)
    mean = probabilities @ gradients
    distances = (gradients - mean).square().sum(1)
    fourth = float(probabilities @ distances.square())
    return Moments(mean, float(probabilities @ distances), fourth)


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
        for samples, paths in observed:
            credit, length = learner.credit(samples, paths), len(samples) / NUM_EPISODES
            psi = credit.advantages / length
            ones = replace(credit, advantages=torch.full_like(psi, length))
            scores = tabular(learner.policy_gradient(samples, ones), scene)
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
def sampled_credits(key: Key, scene: Scene, count: int) -> Sequence[Credit]:
    """Credit the first of the different batches that workers played."""
    estimator = Estimator(dict(key), scene)
    return credits_of(estimator, sampled_observed(scene, has_critic(estimator), count))


def has_critic(estimator: Estimator) -> bool:
    """Tell whether V is there to stand in where an episode is cut."""
    return estimator.config.baseline == "value"


Observed = Sequence[tuple[Samples, Paths]]


def credits_of(estimator: Estimator, observed: Observed) -> Sequence[Credit]:
    """Credit each batch."""
    learner = estimator.scene.learner(estimator.config)
    return [learner.credit(samples, paths) for samples, paths in observed]


def gradients_of(estimator: Estimator, observed: Observed, credits: Sequence[Credit]) -> Tensor:
    """Compute each batch's gradient in tabular logits, [M, S * A]."""
    learner = estimator.scene.learner(estimator.config)
    rows = [
        tabular(learner.policy_gradient(samples, credit), estimator.scene)
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
