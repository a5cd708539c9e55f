"""Whole minibatches as functions of tensors: what is compiled ahead of time.

Each changes the optimizer's state in place. B samples of the batch, M of the minibatch, P
parameters; rows are [M] int64, numbers [7] float64 as `numbers_of` returns them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from distpg.gradient.diagnostics import approx_kl
from distpg.gradient.losses import Coefficients
from distpg.learner.loss_form import LossForm
from distpg.learner.minibatch import Gradient, critic_gradient, minibatch_gradient
from distpg.learner.minibatches import Samples, Targets
from distpg.learner.optimizer_step import OptimizerState, Rule, clip_norm, optimizer_step
from distpg.policy.critic import ActorCritic


@dataclass(frozen=True)
class Fused:
    """The functions of a model, a form of its loss and the rule of its optimizer."""

    form: LossForm
    model: ActorCritic
    rule: Rule

    def step(
        self,
        state: OptimizerState,
        samples: Samples,
        targets: Targets,
        rows: Tensor,
        numbers: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take one step of the optimizer, unless the KL exceeds its limit.

        Returns:
            The terms of the loss and the norm of the gradient, [K + 1]; the log ratios, [M]; the
            approximate KL before the step, [].
        """
        *coefficients, rate, max_norm, kl_limit = numbers.unbind()
        found = self._gradient(state, samples[rows], targets[rows], coefficients)
        with torch.no_grad():
            gradient, norm = clip_norm(found.flat, max_norm)
            kl = approx_kl(found.log_ratio)
            sizes = [num_parameters(child) for child in self.model.children()]
            after = optimizer_step(state, gradient, sizes, rate, self.rule)
            _write(state, after, keep=kl > kl_limit)
        return torch.cat([found.terms, norm.view(1)]), found.log_ratio, kl

    def gradient(
        self,
        state: OptimizerState,
        samples: Samples,
        targets: Targets,
        rows: Tensor,
        numbers: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradient, [P], the terms of the loss, [K], and the log ratios, [M]."""
        found = self._gradient(state, samples[rows], targets[rows], numbers.unbind()[:4])
        return found.flat, found.terms, found.log_ratio

    def critic_step(
        self,
        state: OptimizerState,
        samples: Samples,
        targets: Targets,
        rows: Tensor,
        numbers: Tensor,
    ) -> tuple[Tensor]:
        """Take one step of the critic, whose state it is; return the norm of the gradient, []."""
        *coefficients, rate, max_norm, _ = numbers.unbind()
        critic = self.model.critic
        given = samples[rows], targets[rows], self._now(coefficients)
        flat = with_parameters(critic_gradient, self.model, "critic.", critic, state.values, *given)
        with torch.no_grad():
            clipped, norm = clip_norm(flat, max_norm)
            after = optimizer_step(state, clipped, [len(flat)], rate, self.rule)
            _write(state, after, keep=torch.zeros((), dtype=torch.bool))
        return (norm.float(),)

    def _now(self, numbers: Sequence[Tensor]) -> Coefficients:
        """Return the coefficients of the loss, [] each."""
        # tensors, since the compiled function takes what schedules change as an input
        clip, kl, entropy, value_clip = cast("Sequence[float]", numbers)
        return Coefficients(clip, kl, entropy, value_clip if self.form.clips_values else None)

    def _gradient(
        self,
        state: OptimizerState,
        minibatch: Samples,
        targets: Targets,
        coefficients: Sequence[Tensor],
    ) -> Gradient:
        now = self._now(coefficients)
        call = partial(minibatch_gradient, self.form)
        return with_parameters(
            call, self.model, "", self.model, state.values, minibatch, targets, now
        )


def numbers_of(now: Coefficients, rate: float, max_norm: float, kl_limit: float) -> Tensor:
    """Return what may differ from update to update, [7] float64.

    Args:
        now: Coefficients of the loss.
        rate: Learning rate.
        max_norm: Of the gradient.
        kl_limit: Approximate KL beyond which no step is taken; inf for none.
    """
    value_clip = math.inf if now.value_clip is None else now.value_clip
    numbers = [now.clip, now.kl, now.entropy, value_clip, rate, max_norm, kl_limit]
    return torch.tensor(numbers, dtype=torch.float64)


class _Call(nn.Module):
    """A function of a module as a module, which can be called with other parameters."""

    def __init__(self, function: Callable[..., Any], module: nn.Module) -> None:
        super().__init__()
        self.function, self.module = function, module

    def forward(self, *arguments: Any) -> Any:
        return self.function(self.module, *arguments)


def with_parameters(
    function: Callable[..., Any],
    module: nn.Module,
    prefix: str,
    part: nn.Module,
    values: Tensor,
    *arguments: Any,
) -> Any:
    """Call a function of a module whose part computes with the parameters in a flat vector.

    Args:
        function: Takes the module, then `arguments`.
        module: The module.
        prefix: Of the part's parameters in the module.
        part: The module, or a child of it.
        values: [P] the parameters of the part.
        arguments: Further arguments.
    """
    named = dict(part.named_parameters())
    parts = values.detach().split([parameter.numel() for parameter in named.values()])
    views = {
        f"module.{prefix}{name}": value.view(parameter.shape).requires_grad_()
        for (name, parameter), value in zip(named.items(), parts, strict=True)
    }
    return functional_call(_Call(function, module), views, arguments)


def num_parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def _write(state: OptimizerState, after: OptimizerState, *, keep: Tensor) -> None:
    """Write the state after a step into that before it, unless that is to be kept."""
    pairs = [(state.values, after.values), (state.steps, after.steps)]
    pairs += [(state.moments[kind], moment) for kind, moment in after.moments.items()]
    for old, new in pairs:
        old.copy_(torch.where(keep, old, new))
