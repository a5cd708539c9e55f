"""One estimator against theory: its exact expectation, and what real workers and learner sample."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from distpg.proof.estimators import PLAIN, Estimator
from distpg.proof.gradients import (
    every_observed,
    exact_gradients,
    has_critic,
    sampled_gradients,
    scaled_gradients,
)
from distpg.proof.scene import Scene
from distpg.proof.theory import aim, expectation

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
