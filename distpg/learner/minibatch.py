"""What an update does with a minibatch: the gradient of its loss, a step of the optimizer.

M samples of the minibatch; P parameters of policy and critic, C of the critic.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from distpg.config.config import Config
from distpg.gradient.advantages import normalize
from distpg.gradient.diagnostics import approx_kl
from distpg.gradient.losses import SURROGATES, Coefficients, value_loss
from distpg.learner.loss_form import LossForm
from distpg.learner.minibatches import Samples, Targets
from distpg.learner.objective import surrogate_inputs
from distpg.learner.optimizer import Optimizer
from distpg.learner.torch_compile import torch_compile
from distpg.policy.critic import ActorCritic

NORM = "gradient/norm"
"""Tag of the norm of the gradient before clipping."""


@dataclass(frozen=True)
class Gradient:
    """The gradient of a minibatch's loss, and what was computed with it; constants."""

    flat: Tensor
    """[P]"""
    terms: Tensor
    """[K] parts of the loss, as named by `term_names`."""
    log_ratio: Tensor
    """[M] log pi(a|s) minus that of the behaviour policy."""
    stopped: bool = False
    """Never: a surrogate for one step has no limit of the KL."""


def term_names(model: ActorCritic) -> tuple[str, ...]:
    """Return the TensorBoard tags of the parts of a loss; the last is that of their sum."""
    critic = ("train/value_loss",) if model.critic else ()
    return ("train/policy_gradient_loss", "train/entropy_loss", *critic, "train/loss")


def minibatch_gradient(
    form: LossForm,
    model: ActorCritic,
    minibatch: Samples,
    targets: Targets,
    coefficients: Coefficients,
) -> Gradient:
    """Differentiate the loss of M samples with respect to policy and critic."""
    distribution, values = model(minibatch.obs)
    if form.normalizes:
        targets = dataclasses.replace(targets, advantages=normalize(targets.advantages))
    inputs = surrogate_inputs(
        model.policy, distribution, minibatch, targets, penalizes_kl=form.penalizes_kl
    )
    policy_loss = SURROGATES[form.surrogate](inputs, coefficients)
    entropy = distribution.entropy().mean()
    loss = policy_loss - coefficients.entropy * entropy if form.has_entropy else policy_loss
    parts = [policy_loss, -entropy]
    if values is not None:
        parts.append(value_loss(values, targets.returns, minibatch.values, coefficients.value_clip))
        loss = loss + form.vf_coef * parts[-1]
    flat = flat_gradient(loss, model)
    return Gradient(flat, torch.stack([*parts, loss]).detach(), inputs.log_ratio.detach())


def critic_gradient(
    model: ActorCritic, minibatch: Samples, targets: Targets, coefficients: Coefficients
) -> Tensor:
    """Differentiate the value loss of M samples with respect to the critic, [C]."""
    values = model.values(minibatch.obs)
    loss = value_loss(values, targets.returns, minibatch.values, coefficients.value_clip)
    return flat_gradient(loss, model.critic)


def flat_gradient(loss: Tensor, module: nn.Module) -> Tensor:
    """Differentiate a loss with respect to the parameters of a module, side by side."""
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])


@dataclass(frozen=True)
class Step:
    """What one minibatch showed, before its step."""

    terms: Tensor
    """[K] parts of the loss, as named by `term_names`, then the norm of its gradient."""
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
        norm = self.optimizer.step(self.max_norm)
        return Step(torch.cat([found.terms, norm.view(1)]), found.log_ratio, stopped=False)

    def critic_step(self, rows: Tensor) -> None:
        """Step along the gradient of the critic's loss, with the critic alone."""
        with self.optimizer.freezing("policy"):
            gradient = critic_gradient(self.model, self.samples[rows], self.targets[rows], self.now)
            self.optimizer.add(gradient, 1.0, "critic")
            self.optimizer.step(self.max_norm)


def kl_limit(config: Config) -> float:
    """Return the approximate KL beyond which an update ends; inf if there is none."""
    return 1.5 * config.target_kl if config.target_kl and not config.one_step else math.inf
