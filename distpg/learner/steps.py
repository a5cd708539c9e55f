"""What an update does with each minibatch: by torch's operations, or by compiled functions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from distpg.config.config import Config
from distpg.gradient.diagnostics import approx_kl
from distpg.gradient.losses import Coefficients
from distpg.learner.ahead_of_time import Loaded, flatten
from distpg.learner.fused import numbers_of
from distpg.learner.gradients import (
    Gradient,
    LossForm,
    critic_gradient,
    minibatch_gradient,
    term_names,
)
from distpg.learner.minibatches import Samples, Targets
from distpg.learner.optimizer import Optimizer
from distpg.learner.torch_compile import torch_compile
from distpg.policy.actor_critic import ActorCritic

NORM = "gradient/norm"
"""Tag of the norm of the gradient before clipping."""


@dataclass(frozen=True)
class Step:
    """What one minibatch showed, before its step."""

    terms: dict[str, Tensor]
    """[] parts of the loss, and the norm of its gradient, by TensorBoard tag."""
    log_ratio: Tensor
    """[M] log pi(a|s) minus that of the behaviour policy."""
    stopped: bool
    """Whether the KL exceeded its limit, and no step was taken."""


class Steps(Protocol):
    """The minibatches of one update, [M] int64 rows of its samples each."""

    def begin(self, samples: Samples, targets: Targets, now: Coefficients) -> None:
        """Take the samples of an update, their targets, and the coefficients of the loss."""
        ...

    def gradient(self, rows: Tensor) -> Gradient:
        """Differentiate the loss."""
        ...

    def step(self, rows: Tensor) -> Step:
        """Step along the gradient, unless the KL exceeds its limit."""
        ...

    def critic_step(self, rows: Tensor) -> None:
        """Step along the gradient of the critic's loss, with the critic alone."""
        ...


class TorchSteps:
    """Minibatches by torch's operations."""

    def __init__(
        self,
        config: Config,
        model: ActorCritic,
        optimizer: Optimizer,
        *,
        compiled: bool = False,
    ) -> None:
        """Take the model and its optimizer, whose rate may change.

        With `compiled`, the gradient is compiled by torch.compile when it is first computed.
        """
        self.form, self.model, self.optimizer = LossForm.of(config), model, optimizer
        self.max_norm, self.kl_limit = config.max_grad_norm, kl_limit(config)
        self.compute = torch_compile(self._compute) if compiled else self._compute

    def begin(self, samples: Samples, targets: Targets, now: Coefficients) -> None:
        """Take the samples of an update, their targets, and the coefficients of the loss."""
        self.samples, self.targets, self.now = samples, targets, now

    def gradient(self, rows: Tensor) -> Gradient:
        """Differentiate the loss."""
        return self.compute(self.samples, self.targets, rows, self.now)

    def _compute(
        self, samples: Samples, targets: Targets, rows: Tensor, now: Coefficients
    ) -> Gradient:
        return minibatch_gradient(self.form, self.model, samples[rows], targets[rows], now)

    def step(self, rows: Tensor) -> Step:
        """Step along the gradient, unless the KL exceeds its limit."""
        found = self.gradient(rows)
        limited = math.isfinite(self.kl_limit)
        if limited and float(approx_kl(found.log_ratio)) > self.kl_limit:
            return Step(found.terms, found.log_ratio, stopped=True)
        self.optimizer.add(found.flat, 1.0)
        terms = {**found.terms, NORM: self.optimizer.step(self.max_norm)}
        return Step(terms, found.log_ratio, stopped=False)

    def critic_step(self, rows: Tensor) -> None:
        """Step along the gradient of the critic's loss, with the critic alone."""
        with self.optimizer.freezing("policy"):
            gradient = critic_gradient(
                self.form, self.model, self.samples[rows], self.targets[rows]
            )
            self.optimizer.add(gradient, 1.0, "critic")
            self.optimizer.step(self.max_norm)


class CompiledSteps:
    """Minibatches by functions that were compiled ahead of time."""

    def __init__(
        self,
        config: Config,
        model: ActorCritic,
        optimizer: Optimizer,
        functions: Mapping[str, Loaded],
    ) -> None:
        """Take the methods of `Fused`, compiled, by name; and the optimizer that they move."""
        self.optimizer, self.functions = optimizer, functions
        self.names = term_names(model)
        self.max_norm, self.kl_limit = config.max_grad_norm, kl_limit(config)

    def begin(self, samples: Samples, targets: Targets, now: Coefficients) -> None:
        """Take the samples of an update, their targets, and the coefficients of the loss."""
        self.batch = [*flatten(samples), *flatten(targets)]
        self.numbers = numbers_of(now, self.optimizer.rate, self.max_norm, self.kl_limit)

    def _run(self, name: str, state: Any, rows: Tensor) -> Any:
        return self.functions[name]([*flatten(state), *self.batch, rows, self.numbers])

    def gradient(self, rows: Tensor) -> Gradient:
        """Differentiate the loss."""
        flat, terms, log_ratio = self._run("gradient", self.optimizer.whole, rows)
        return Gradient(flat, dict(zip(self.names, terms.unbind(), strict=True)), log_ratio)

    def step(self, rows: Tensor) -> Step:
        """Step along the gradient, unless the KL exceeds its limit."""
        found, log_ratio = self._run("step", self.optimizer.whole, rows)
        *terms, norm, kl = found.unbind()
        named = dict(zip(self.names, terms, strict=True))
        stopped = math.isfinite(self.kl_limit) and float(kl) > self.kl_limit
        return Step({**named, NORM: norm}, log_ratio, stopped)

    def critic_step(self, rows: Tensor) -> None:
        """Step along the gradient of the critic's loss, with the critic alone."""
        self._run("critic_step", self.optimizer.states["critic"], rows)


def kl_limit(config: Config) -> float:
    """Return the approximate KL beyond which an update ends; inf if there is none."""
    return 1.5 * config.target_kl if config.target_kl and not config.one_step else math.inf
