"""The gradient of a minibatch's loss, as pure functions of the model and the samples.

M samples of the minibatch; P parameters of policy and critic, C of the critic.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from distpg.config.config import Config
from distpg.gradient.losses import SURROGATES, Coefficients, value_loss
from distpg.learner.minibatches import Samples, Targets
from distpg.learner.objective import surrogate_inputs
from distpg.policy.actor_critic import ActorCritic


@dataclass(frozen=True)
class LossForm:
    """What distinguishes one loss from another, but for coefficients that schedules change."""

    surrogate: str
    penalizes_kl: bool
    has_entropy: bool
    vf_coef: float
    value_clip: float | None

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return that of a configuration."""
        return cls(
            surrogate=config.surrogate,
            penalizes_kl=config.penalizes_kl,
            has_entropy=config.ent_coef > 0,
            vf_coef=config.vf_coef,
            value_clip=config.value_clip,
        )


@dataclass(frozen=True)
class Gradient:
    """The gradient of a minibatch's loss, and what was computed with it; constants."""

    flat: Tensor
    """[P]"""
    terms: dict[str, Tensor]
    """[] parts of the loss, by TensorBoard tag, in the order of `term_names`."""
    log_ratio: Tensor
    """[M] log pi(a|s) minus that of the behaviour policy."""
    stopped: bool = False
    """As for `Step`; the first gradient of an update is always used."""


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
    inputs = surrogate_inputs(
        model.policy, distribution, minibatch, targets, penalizes_kl=form.penalizes_kl
    )
    policy_loss = SURROGATES[form.surrogate](inputs, coefficients)
    entropy = distribution.entropy().mean()
    loss = policy_loss - coefficients.entropy * entropy if form.has_entropy else policy_loss
    parts = [policy_loss, -entropy]
    if values is not None:
        parts.append(value_loss(values, targets.returns, minibatch.values, form.value_clip))
        loss = loss + form.vf_coef * parts[-1]
    flat = flat_gradient(loss, model)
    constants = [part.detach() for part in (*parts, loss)]
    terms = dict(zip(term_names(model), constants, strict=True))
    return Gradient(flat, terms, inputs.log_ratio.detach())


def critic_gradient(
    form: LossForm, model: ActorCritic, minibatch: Samples, targets: Targets
) -> Tensor:
    """Differentiate the value loss of M samples with respect to the critic, [C]."""
    values = model.values(minibatch.obs)
    loss = value_loss(values, targets.returns, minibatch.values, form.value_clip)
    return flat_gradient(loss, model.critic)


def flat_gradient(loss: Tensor, module: nn.Module) -> Tensor:
    """Differentiate a loss with respect to the parameters of a module, side by side."""
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])
