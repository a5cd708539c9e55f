"""A step of the optimizer as a function of tensors, which can be compiled.

`optimizer.py` takes the same step by torch's kernels. P parameters of some children of the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-5
NORM_EPSILON = 1e-6
"""Added to the norm that a gradient is divided by, as torch's `clip_grad_norm_` does."""


@dataclass(frozen=True)
class OptimizerState:
    """Parameters of some children of the model, side by side, and what their optimizer keeps."""

    values: Tensor
    """[P]"""
    steps: Tensor
    """[children] steps that Adam has taken, float32"""
    moments: Mapping[str, Tensor]
    """[P] by kind: exp_avg and exp_avg_sq of Adam, momentum_buffer of SGD"""


def clip_norm(gradient: Tensor, max_norm: float | Tensor) -> tuple[Tensor, Tensor]:
    """Scale a gradient to at most `max_norm`; return it with its norm before that."""
    norm = torch.linalg.vector_norm(gradient)
    return gradient * (max_norm / (norm + NORM_EPSILON)).clamp(max=1), norm


def optimizer_step(
    state: OptimizerState,
    gradient: Tensor,
    sizes: Sequence[int],
    rate: Tensor,
    momentum: float,
) -> OptimizerState:
    """Step along a gradient: by Adam (Kingma and Ba 2015) if it has its moments, else by SGD.

    Args:
        state: Before the step.
        gradient: [P]
        sizes: Parameters of each child; their sum is P.
        rate: [] learning rate, in float64.
        momentum: Of SGD.
    """
    if "exp_avg" in state.moments:
        return _adam(state, gradient, sizes, rate)
    moments = dict(state.moments)
    if moments:
        gradient = moments["momentum_buffer"] = moments["momentum_buffer"] * momentum + gradient
    return OptimizerState(state.values - rate.float() * gradient, state.steps, moments)


def _adam(
    state: OptimizerState, gradient: Tensor, sizes: Sequence[int], rate: Tensor
) -> OptimizerState:
    steps = state.steps + 1
    mean = state.moments["exp_avg"].lerp(gradient, 1 - BETAS[0])
    square = state.moments["exp_avg_sq"] * BETAS[1] + (1 - BETAS[1]) * gradient.square()
    values: list[Tensor] = []
    # in float64, for float32 would lose digits; by exp, whose result a compiler keeps, while it
    # would take a power again for every few parameters
    logs = torch.tensor(BETAS, dtype=torch.float64).log()
    powers = torch.outer(steps.double(), logs).exp()
    parts = zip(state.values.split(sizes), mean.split(sizes), square.split(sizes), strict=True)
    # each child has its own count of steps
    for (old, first, second), (power, power_sq) in zip(parts, powers, strict=True):
        size = (rate / (1 - power)).float()
        root = (1 - power_sq).sqrt().float()
        values.append(old - size * first / (second.sqrt() / root + EPSILON))
    return OptimizerState(torch.cat(values), steps, {"exp_avg": mean, "exp_avg_sq": square})
