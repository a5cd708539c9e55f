"""Minibatches by functions that were compiled ahead of time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from distpg.config.config import Config
from distpg.gradient.losses import Coefficients
from distpg.learner.ahead_of_time import Loaded, flatten
from distpg.learner.fused import numbers_of
from distpg.learner.minibatch import NORM, Gradient, Step, kl_limit, term_names
from distpg.learner.minibatches import Samples, Targets
from distpg.learner.optimizer import Optimizer
from distpg.policy.actor_critic import ActorCritic


class CompiledSteps:
    """Minibatches by functions that were compiled ahead of time."""

    def __init__(
        self,
        config: Config,
        model: ActorCritic,
        optimizer: Optimizer,
        functions: Mapping[str, Loaded],
        examples: Sequence[Any],
    ) -> None:
        """Initialize.

        Args:
            config: The settings.
            model: Policy and critic.
            optimizer: Of the model; the functions move it.
            functions: The methods of `Fused`, compiled, by name.
            examples: Samples and targets that they were compiled for; of these, sizes may differ.
        """
        self.optimizer, self.functions = optimizer, functions
        self.kinds = [(like.dtype, like.shape[1:]) for like in flatten(examples)]
        self.names = term_names(model)
        self.max_norm, self.kl_limit = config.max_grad_norm, kl_limit(config)

    def begin(self, samples: Samples, targets: Targets, now: Coefficients) -> None:
        """Take the samples of an update, their targets, and the coefficients of the loss."""
        # compiled code reads memory as it is
        self.batch = [tensor.contiguous() for tensor in flatten((samples, targets))]
        kinds = [(tensor.dtype, tensor.shape[1:]) for tensor in self.batch]
        assert kinds == self.kinds, f"compiled for {self.kinds}, called with {kinds}"
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
