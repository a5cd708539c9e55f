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
