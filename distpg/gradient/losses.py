"""Losses whose gradient is a policy gradient. Pure functions on the [B] samples of a minibatch.

Each is a quantity to minimise. A policy loss is a device for its gradient: its value is no measure
of how well the policy plays.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from distpg.config import GradientSettings


def log_prob_loss(logprobs: Tensor, advantages: Tensor) -> Tensor:
    """Weight log-probabilities: -mean(log pi(a|s) * Psi) (Williams 1992; Sutton et al. 2000).

    Its gradient is the policy gradient at the parameters that acted, and there alone.

    Args:
        logprobs: [B] under the current policy, with gradient.
        advantages: [B] Psi, a constant.
    """
    return -(logprobs * advantages).mean()


def clipped_loss(log_ratio: Tensor, advantages: Tensor, *, clip_coef: float) -> Tensor:
    """PPO's clipped surrogate, negated (Schulman et al. 2017, eq. 7).

    No gradient where the ratio has already moved more than `clip_coef` the way the advantage
    pushes.

    Args:
        log_ratio: [B] log pi(a|s) minus that of the policy that acted, with gradient.
        advantages: [B] a constant.
        clip_coef: The clip range.
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_coef, 1 + clip_coef)
    return -torch.min(ratio * advantages, clipped * advantages).mean()


def value_loss(values: Tensor, returns: Tensor) -> Tensor:
    """Mean squared error of [B] values against [B] returns."""
    return (values - returns).square().mean()


def approx_kl(log_ratio: Tensor) -> Tensor:
    """Estimate KL(acting || current) from samples of the acting policy.

    The estimator mean(ratio - 1 - log ratio): unbiased, never negative (Schulman 2020).
    """
    return (log_ratio.exp() - 1 - log_ratio).mean()


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """Share of the variance of [B] returns that [B] values explain; nan if there is no variance."""
    variance = returns.var(correction=0)
    return torch.where(variance > 0, 1 - (returns - values).var(correction=0) / variance, torch.nan)


def _log_prob(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, settings: GradientSettings
) -> Tensor:
    return log_prob_loss(logprobs, advantages)


def _clip(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, settings: GradientSettings
) -> Tensor:
    return clipped_loss(logprobs - old_logprobs, advantages, clip_coef=settings.clip_coef)


Surrogate = Callable[[Tensor, Tensor, Tensor, GradientSettings], Tensor]

SURROGATES: dict[str, Surrogate] = {"log_prob": _log_prob, "clip": _clip}
"""From (logprobs, logprobs of the acting policy, advantages, settings) to the policy loss."""
