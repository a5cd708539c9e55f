"""Losses whose gradient is a policy gradient. Pure functions on the [B] samples of a minibatch.

Each is to be minimized. A policy loss exists for its gradient: its value does not measure how good
the policy is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import mse_loss


def log_prob_loss(logprobs: Tensor, weights: Tensor) -> Tensor:
    """Weight log-probabilities: -mean(log pi(a|s) * Psi) (Williams 1992; Sutton et al. 2000).

    Its gradient is the policy gradient at the behaviour policy's parameters only; at others Psi
    must be multiplied by an importance weight.

    Args:
        logprobs: [B] under the current policy, with gradient.
        weights: [B] Psi, a constant.
    """
    return -(logprobs * weights).mean()


def ratio_loss(log_ratio: Tensor, advantages: Tensor) -> Tensor:
    """Weight ratios: -mean(pi(a|s) / pi_old(a|s) * Psi) (Kakade and Langford 2002).

    Args:
        log_ratio: [B] log pi(a|s) minus that of the old policy, with gradient.
        advantages: [B] a constant.
    """
    return -(log_ratio.exp() * advantages).mean()


def clipped_loss(log_ratio: Tensor, advantages: Tensor, *, clip_coef: float) -> Tensor:
    """PPO's clipped surrogate, negated (Schulman et al. 2017, eq. 7).

    No gradient if the ratio has already moved more than `clip_coef` in the direction of the
    advantage.

    Args:
        log_ratio: [B] log pi(a|s) minus that of the behaviour policy, with gradient.
        advantages: [B] a constant.
        clip_coef: The clip range.
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_coef, 1 + clip_coef)
    return -torch.min(ratio * advantages, clipped * advantages).mean()


def value_loss(
    values: Tensor,
    returns: Tensor,
    old_values: Tensor | None = None,
    value_clip: float | None = None,
) -> Tensor:
    """Mean squared error of [B] values against [B] returns.

    With `value_clip`, the larger of the errors of V and of V clipped to that distance from its [B]
    value before the update: no gradient moves V further than that.
    """
    if value_clip is None:
        return mse_loss(values, returns)
    assert old_values is not None, "values are clipped around those before the update"
    clipped = old_values + (values - old_values).clamp(-value_clip, value_clip)
    return torch.max((values - returns).square(), (clipped - returns).square()).mean()


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of the loss, as scheduled for this update."""

    clip: float
    kl: float
    entropy: float
    value_clip: float | None = None


@dataclass(frozen=True)
class SurrogateInputs:
    """What a surrogate loss is computed from, for a minibatch of M samples."""

    logprobs: Tensor
    """[M] log pi(a|s) under the current policy, with gradient."""
    log_ratio: Tensor
    """[M] log pi(a|s) minus that of the behaviour policy, with gradient."""
    advantages: Tensor
    """[M] Psi."""
    importance: Tensor
    """[M] importance weights, constants."""
    kl: Tensor
    """[M] KL(behaviour || current) in each state; [0] unless the surrogate penalizes it."""


def _kl_penalty(x: SurrogateInputs, now: Coefficients) -> Tensor:
    return ratio_loss(x.log_ratio, x.advantages) + now.kl * x.kl.mean()


SURROGATES: dict[str, Callable[[SurrogateInputs, Coefficients], Tensor]] = {
    "log_prob": lambda x, now: log_prob_loss(x.logprobs, x.advantages),
    "detached_ratio": lambda x, now: ratio_loss(x.logprobs - x.logprobs.detach(), x.advantages),
    "importance": lambda x, now: log_prob_loss(x.logprobs, x.importance * x.advantages),
    "clip": lambda x, now: clipped_loss(x.log_ratio, x.advantages, clip_coef=now.clip),
    "kl_adaptive": _kl_penalty,
    "kl_fixed": _kl_penalty,
    "trust_region": lambda x, now: ratio_loss(x.log_ratio, x.advantages),
}
"""From the inputs of a minibatch and the current coefficients to the policy loss."""
