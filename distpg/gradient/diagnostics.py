"""What a batch tells of the update: how far it went, how much of it was noise. Pure functions."""

import torch
from torch import Tensor


def approx_kl(log_ratio: Tensor) -> Tensor:
    """Estimate KL(acting || current) from samples of the acting policy.

    The estimator mean(ratio - 1 - log ratio): unbiased, never negative (Schulman 2020).
    """
    return (log_ratio.exp() - 1 - log_ratio).mean()


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """Share of the variance of [B] returns that [B] values explain; nan if there is no variance."""
    variance = returns.var(correction=0)
    return torch.where(variance > 0, 1 - (returns - values).var(correction=0) / variance, torch.nan)


def effective_sample_size(weights: Tensor) -> Tensor:
    """Say what share of [B] samples as many equal ones would be: (sum w)^2 / (B sum w^2)."""
    return weights.mean().square() / weights.square().mean()


def gradient_noise(gradients: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Split what gradients of independent parts of a batch measure into signal and noise.

    Unbiased, so that either may come out negative when it is small (McCandlish et al. 2018,
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


def improvement_limit(kl: Tensor, advantages: Tensor, *, gamma: float, length: float) -> Tensor:
    """Bound how far the surrogate's prediction may be off, for a return over `length` steps.

    2 * max|A| * H^2 * sqrt(KL / 2), with H the discounted length (Achiam et al. 2017, corollary 1,
    and Pinsker's inequality): what is left out by keeping the states that the old policy visits.
    Loose by orders of magnitude; it shows how the trust in a prediction falls with the KL.

    Args:
        kl: [] mean KL(acting || current) over the states.
        advantages: [B] not normalized.
        gamma: Discount per env step.
        length: Mean steps of an episode.
    """
    horizon = length if gamma == 1 else (1 - gamma**length) / (1 - gamma)
    return 2 * advantages.abs().max() * horizon**2 * (kl.clamp(min=0) / 2).sqrt()
