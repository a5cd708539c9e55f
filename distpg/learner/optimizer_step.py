"""A step of the optimizer as a function of tensors, which can be compiled.

`optimizer.py` takes the same step of Adam and SGD by torch's kernels. P parameters of some children
of the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from distpg.config.settings import LearnerSettings

EPSILON = 1e-5
"""Unless `optimizer_epsilon` says otherwise."""
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
    """[P] by kind: exp_avg and exp_avg_sq of Adam, square_avg of RMSprop, momentum_buffer of SGD"""


@dataclass(frozen=True)
class Rule:
    """What a step does with a gradient."""

    kind: str
    """adam, sgd, rmsprop or rmsprop_tf"""
    epsilon: float
    betas: tuple[float, float]
    decay: float
    """Of RMSprop."""
    momentum: float
    """Of SGD."""
    weight_decay: float
    """L2 penalty: added to the gradient, so scaled by it in Adam and RMSprop."""

    @classmethod
    def of(cls, settings: LearnerSettings) -> Self:
        """Return that of the settings."""
        return cls(
            kind=settings.optimizer,
            epsilon=EPSILON if settings.optimizer_epsilon is None else settings.optimizer_epsilon,
            betas=settings.adam_betas,
            decay=settings.rmsprop_decay,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )

    @property
    def moments(self) -> dict[str, float]:
        """The kinds of moments that the optimizer keeps, and what they start with."""
        if self.kind == "adam":
            return {"exp_avg": 0.0, "exp_avg_sq": 0.0}
        if self.kind == "sgd":
            return {"momentum_buffer": 0.0} if self.momentum else {}
        return {"square_avg": 1.0 if self.kind == "rmsprop_tf" else 0.0}


def clip_norm(gradient: Tensor, max_norm: float | Tensor) -> tuple[Tensor, Tensor]:
    """Scale a gradient to at most `max_norm`; return it with its norm before that."""
    norm = torch.linalg.vector_norm(gradient)
    return gradient * (max_norm / (norm + NORM_EPSILON)).clamp(max=1), norm


def optimizer_step(
    state: OptimizerState,
    gradient: Tensor,
    sizes: Sequence[int],
    rate: Tensor,
    rule: Rule,
) -> OptimizerState:
    """Step along a gradient, by Adam (Kingma and Ba 2015), RMSprop (Hinton 2012) or SGD.

    Args:
        state: Before the step.
        gradient: [P] after clipping.
        sizes: Parameters of each child; their sum is P.
        rate: [] learning rate, in float64.
        rule: Of the optimizer.
    """
    if rule.weight_decay:
        gradient = gradient + rule.weight_decay * state.values
    if rule.kind == "adam":
        return _adam(state, gradient, sizes, rate, rule)
    if rule.kind == "sgd":
        return _sgd(state, gradient, rate, rule)
    return _rmsprop(state, gradient, rate, rule)


def _sgd(state: OptimizerState, gradient: Tensor, rate: Tensor, rule: Rule) -> OptimizerState:
    moments = dict(state.moments)
    if moments:
        gradient = rule.momentum * moments["momentum_buffer"] + gradient
        moments["momentum_buffer"] = gradient
    return OptimizerState(state.values - rate.float() * gradient, state.steps, moments)


def _rmsprop(state: OptimizerState, gradient: Tensor, rate: Tensor, rule: Rule) -> OptimizerState:
    """Divide by the root of the average square; with TensorFlow epsilon is inside the root."""
    square = rule.decay * state.moments["square_avg"] + (1 - rule.decay) * gradient.square()
    if rule.kind == "rmsprop_tf":
        root = (square + rule.epsilon).sqrt()
    else:
        root = square.sqrt() + rule.epsilon
    values = state.values - rate.float() * gradient / root
    return OptimizerState(values, state.steps, {"square_avg": square})


def _adam(
    state: OptimizerState, gradient: Tensor, sizes: Sequence[int], rate: Tensor, rule: Rule
) -> OptimizerState:
    steps, betas = state.steps + 1, rule.betas
    mean = state.moments["exp_avg"].lerp(gradient, 1 - betas[0])
    square = state.moments["exp_avg_sq"] * betas[1] + (1 - betas[1]) * gradient.square()
    values: list[Tensor] = []
    # in float64, for float32 would lose digits; by exp, whose result a compiler keeps, while it
    # would take a power again for every few parameters
    logs = torch.tensor(betas, dtype=torch.float64).log()
    powers = torch.outer(steps.double(), logs).exp()
    parts = zip(state.values.split(sizes), mean.split(sizes), square.split(sizes), strict=True)
    # each child has its own count of steps
    for (old, first, second), (power, power_sq) in zip(parts, powers, strict=True):
        size = (rate / (1 - power)).float()
        root = (1 - power_sq).sqrt().float()
        values.append(old - size * first / (second.sqrt() / root + rule.epsilon))
    return OptimizerState(torch.cat(values), steps, {"exp_avg": mean, "exp_avg_sq": square})
