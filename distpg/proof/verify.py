"""Verify an estimator against theory: its exact expectation, and samples of workers and learner."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from distpg.proof.estimators import PLAIN, Estimator
from distpg.proof.gradients import (
    exact_gradients,
    has_critic,
    observe_all,
    sampled_gradients,
    scaled_gradients,
)
from distpg.proof.scene import Scene
from distpg.proof.theory import expectation, true_gradient

TOLERANCE = 1e-10
"""Maximum distance between equal gradients."""
SCALED_TOLERANCE = 1e-6
"""The same with normalized advantages: if all Psi are equal, their float64 rounding error is
divided by 1e-8."""
MAX_Z = 4.0
MAX_STANDARD_ERROR = 0.02
"""Of the sampled mean, relative to the norm of the exact one."""
MIN_COSINE = 0.9
"""Between the true gradient and the expectation of one that batch statistics scale."""
MAX_BATCHES = 40_000


@dataclass(frozen=True)
class EstimatorReport:
    """The verification of an estimator; numbers are for batches of 4 episodes."""

    estimator: str
    verdict: Literal["PASS", "FAIL"]
    reasons: list[str]
    """What failed."""
    bias: float
    """Distance of the exact expectation from the true gradient, relative to its norm."""
    theory: float | None
    """The bias that theory predicts; None if batch statistics scale the gradient."""
    cosine: float
    """Between the exact expectation and the true gradient."""
    z: float
    """The largest |z| of a component of the sampled mean."""
    standard_error: float
    """Of the sampled mean, relative to the norm of the exact one."""
    variance: float
    """Exact variance of a batch's gradient: the trace of the covariance."""
    sampled_variance: float
    variance_z: float
    """|z| of the sampled variance."""
    snr: float
    """Norm of the exact expectation over the standard deviation of a batch's gradient."""
    reduction: float
    """Variance of plain REINFORCE on the same game over this one's, each relative to its squared
    expectation."""
    batches: int
    """Number of sampled batches."""


@dataclass(frozen=True)
class Moments:
    """Exact moments of a batch's gradient."""

    mean: Tensor
    """[P]"""
    variance: float
    """Mean squared distance from the mean."""
    fourth: float
    """Mean fourth power of that distance."""

    @property
    def noise(self) -> float:
        """Variance relative to the squared norm of the mean."""
        return self.variance / float(self.mean.square().sum())


def verify(estimator: Estimator) -> EstimatorReport:
    """Check an estimator against theory and against samples."""
    truth = true_gradient(estimator).flatten()
    exact = moments(estimator)
    bias = float((exact.mean - truth).norm() / truth.norm())
    theory = None
    if not estimator.is_scaled:
        expected = expectation(estimator.plain).flatten()
        theory = float((expected - truth).norm() / truth.norm())
    reasons = list(check_exactly(estimator))

    batches = math.ceil(min(MAX_BATCHES, exact.noise / (0.95 * MAX_STANDARD_ERROR) ** 2))
    sampled = sampled_gradients(estimator, batches)
    error = sampled.std(0) / math.sqrt(batches)
    # constant components differ by float32 rounding only
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
    return EstimatorReport(
        estimator=estimator.name,
        verdict="FAIL" if reasons else "PASS",
        reasons=reasons,
        bias=bias,
        theory=theory,
        cosine=cosine_to_truth(estimator),
        z=z,
        standard_error=standard_error,
        variance=exact.variance,
        sampled_variance=variance,
        variance_z=variance_z,
        snr=exact.noise**-0.5,
        reduction=reinforce_noise(estimator.scene) / exact.noise,
        batches=batches,
    )


def check_exactly(estimator: Estimator) -> Iterator[str]:
    """Yield how the gradients of all possible batches differ from theory."""
    expected = expectation(estimator.plain).flatten()
    distance = float((moments(estimator.plain).mean - expected).norm())
    if not distance < TOLERANCE:
        yield f"the expectation differs from theory by {distance:.2g}"
    if estimator.is_scaled:
        off = float((exact_gradients(estimator) - scaled_gradients(estimator)).abs().max())
        if not off < SCALED_TOLERANCE:
            yield f"a batch's gradient differs from the scaled plain one by {off:.2g}"
        cosine = cosine_to_truth(estimator)
        if not cosine > MIN_COSINE:
            yield f"the expectation has the wrong direction: cosine {cosine:.3f}"


def cosine_to_truth(estimator: Estimator) -> float:
    """Return the cosine between the exact expectation and the true gradient."""
    truth = true_gradient(estimator).flatten()
    return float(torch.cosine_similarity(moments(estimator).mean, truth, dim=0))


def reinforce_noise(scene: Scene) -> float:
    """Return the relative variance of plain REINFORCE: total return, no baseline, on-policy."""
    on_policy = replace(scene, off_policy=False, wrong_critic=False)
    plain = {"advantage": "total_return", "baseline": "none", **PLAIN}
    return moments(Estimator(plain, on_policy)).noise


def moments(estimator: Estimator) -> Moments:
    """Compute the moments over all possible batches, weighted by probability, in float64."""
    _, probabilities = observe_all(estimator.scene, has_critic(estimator))
    gradients = exact_gradients(estimator)
    mean = probabilities @ gradients
    distances = (gradients - mean).square().sum(1)
    fourth = float(probabilities @ distances.square())
    return Moments(mean, float(probabilities @ distances), fourth)
