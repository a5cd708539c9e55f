"""Minibatches by functions that were compiled ahead of time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from distpg.config.config import Config
from distpg.gradient.losses import Coefficients
from distpg.learner.ahead_of_time import Loaded, flatten
from distpg.learner.fused import numbers_of
from distpg.learner.minibatch import Gradient, Step, kl_limit
from distpg.learner.minibatches import Samples, Targets
from distpg.learner.optimizer import Optimizer
from distpg.learner.optimizer_step import OptimizerState


def state_of(optimizer: Optimizer, name: str) -> OptimizerState:
    """Return what a method of `Fused` takes as its first argument."""
    return optimizer.states["critic"] if name == "critic_step" else optimizer.whole


class CompiledSteps:
    """Minibatches by functions that were compiled ahead of time."""

    def __init__(
        self,
        config: Config,
        optimizer: Optimizer,
        functions: Mapping[str, Loaded],
        examples: Sequence[Any],
    ) -> None:
        """Initialize.

        Args:
            config: The settings.
            optimizer: Of policy and critic; the functions move it.
            functions: The methods of `Fused`, compiled, by name.
            examples: Samples and targets that they were compiled for; of these, sizes may differ.
        """
        self.optimizer, self.functions = optimizer, functions
        self.states = {name: state_of(optimizer, name) for name in functions}
        self.kinds = [(like.dtype, like.shape[1:]) for like in flatten(examples)]
        self.max_norm, self.kl_limit = config.max_grad_norm, kl_limit(config)

    def begin(self, samples: Samples, targets: Targets, now: Coefficients) -> None:
        """Take the samples of an update, their targets, and the coefficients of the loss."""
        # compiled code reads memory as it is
        batch = [tensor.contiguous() for tensor in flatten((samples, targets))]
        kinds = [(tensor.dtype, tensor.shape[1:]) for tensor in batch]
        assert kinds == self.kinds, f"compiled for {self.kinds}, called with {kinds}"
        self.given = {name: [*flatten(state), *batch] for name, state in self.states.items()}
        self.numbers = numbers_of(now, self.optimizer.rate, self.max_norm, self.kl_limit)

    def _run(self, name: str, rows: Tensor) -> Any:
        return self.functions[name]([*self.given[name], rows, self.numbers])

    def gradient(self, rows: Tensor) -> Gradient:
        """Differentiate the loss."""
        return Gradient(*self._run("gradient", rows))

    def step(self, rows: Tensor) -> Step:
        """Step along the gradient, unless the KL exceeds its limit."""
        terms, log_ratio, kl = self._run("step", rows)
        stopped = math.isfinite(self.kl_limit) and float(kl) > self.kl_limit
        return Step(terms, log_ratio, stopped)

    def critic_step(self, rows: Tensor) -> None:
        """Step along the gradient of the critic's loss, with the critic alone."""
        self._run("critic_step", rows)
