"""Diagnostics of an update and of gradient noise, from a batch. Pure functions."""

import torch
from torch import Tensor


def approx_kl(log_ratio: Tensor) -> Tensor:
    """Estimate KL(behaviour || current) from samples of the behaviour policy.

    The estimator mean(ratio - 1 - log ratio): unbiased, never negative (Schulman 2020). The
    difference of ratio and 1 is computed without cancellation, and its rounding is cut off at 0.
    """
    return (log_ratio.expm1() - log_ratio).clamp(min=0).mean()


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """Fraction of the variance of [B] returns that [B] values explain; NaN without variance."""
    variance = returns.var(correction=0)
    return torch.where(variance > 0, 1 - (returns - values).var(correction=0) / variance, torch.nan)


def effective_sample_size(weights: Tensor) -> Tensor:
    """Effective sample size of [B] weights, as a fraction of B: (sum w)^2 / (B sum w^2)."""
    return weights.mean().square() / weights.square().mean()


def gradient_noise(gradients: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate signal and noise from the gradients of independent parts of a batch.

    Unbiased, so that either estimate may be negative if it is small (McCandlish et al. 2018,
    appendix A.1, for parts of unequal size).

    Args:
        gradients: [K, P] means over the samples of each part; K at least 2.
        sizes: [K] samples of each.

    Returns:
        signal: squared norm of the expected gradient.
        noise: trace of the covariance of one sample's gradient.
    """
    shares = sizes / sizes.sum()
    whole = (shares[:, None] * gradients).sum(0)
    spread = (sizes * (gradients - whole).square().sum(1)).sum()
    noise = spread / (len(sizes) - 1)
    return whole.square().sum() - noise / sizes.sum(), noise


def kl_term(kl: Tensor, advantages: Tensor) -> Tensor:
    """Bound what the surrogate neglects by keeping the behaviour policy's state distribution.

    2 * max|A| * sqrt(KL / 2), to be multiplied by the square of an episode's length: the KL term of
    the performance-difference bound (Achiam et al. 2017, corollary 1, for a finite horizon, with
    Pinsker's inequality). Sampled advantages replace exact ones. Loose by orders of magnitude; it
    shows how the confidence in a prediction falls with the KL.

    Args:
        kl: [] mean KL(behaviour || current) over the states.
        advantages: [B] not normalized.
    """
    return 2 * advantages.abs().max() * (kl.clamp(min=0) / 2).sqrt()
