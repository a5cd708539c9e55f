"""The policy, which acts, and the critic, which only the learner needs."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from distpg.errors import InputError
from distpg.policy.architecture import Architecture
from distpg.policy.distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    Distribution,
    MultiCategorical,
)
from distpg.policy.encoders import ImageEncoder, ObsEncoder, orthogonal
from distpg.policy.normalizer import Constants, ObsNormalizer
from distpg.records import Weights
from distpg.spaces import ActionSpec, ObsSpec


class Policy(nn.Module):
    """From observations to a distribution over actions: normalizer, encoder, head."""

    log_std: Tensor

    def __init__(self, obs_spec: ObsSpec, action_spec: ActionSpec, parts: Architecture) -> None:
        """Build and initialize the networks."""
        super().__init__()
        self.obs_spec = obs_spec
        self.action_spec = action_spec
        self.normalizer = ObsNormalizer(obs_spec.leaves, enabled=parts.normalize_obs)
        self.encoder = ObsEncoder(obs_spec, parts)
        self.num_outputs = sum(action_spec.sizes) or action_spec.stored_shape[0]
        bias = not self.encoder.is_table
        head = nn.Linear(self.encoder.num_features, self.num_outputs, bias=bias)
        self.head = orthogonal(head, gain=0.01)
        if action_spec.kind == "continuous":
            self.log_std = nn.Parameter(torch.zeros(self.num_outputs))

    def forward(self, obs: Mapping[str, Tensor]) -> Distribution:
        """Return the action distribution for raw observations {leaf: [*B, *O]}."""
        return self.distribution(self.encoder(self.normalizer(obs)))

    def outputs(self, obs: Mapping[str, Tensor], constants: Mapping[str, Constants]) -> Tensor:
        """Return what the head makes of raw observations {leaf: [*B, *O]}, [*B, num_outputs].

        `constants` are the normalizer's, worked out once for many calls.
        """
        return self.head(self.encoder(self.normalizer(obs, constants)))

    def distribution(self, features: Tensor) -> Distribution:
        """Return the action distribution for [*B, F] features of the encoder."""
        return self.distribution_of(self.head(features))

    def distribution_of(self, outputs: Tensor) -> Distribution:
        """Return the action distribution for [*B, num_outputs] outputs of the head."""
        if self.action_spec.kind == "continuous":
            return DiagonalGaussian(outputs, self.log_std)
        return self._discrete(outputs)

    def parameters_of(self, features: Tensor) -> Tensor:
        """Return the distribution's parameters as values, [*B, P]; `rebuild` takes them back."""
        outputs = self.head(features)
        if self.action_spec.kind == "continuous":
            outputs = torch.cat([outputs, self.log_std.expand_as(outputs)], -1)
        return outputs

    def parameters_at(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Return them for normalized {leaf: [*B, *O]}."""
        return self.parameters_of(self.encoder(obs))

    def rebuild(self, parameters: Tensor) -> Distribution:
        """Return the distribution of [*B, P] parameters."""
        if self.action_spec.kind == "continuous":
            return DiagonalGaussian(*parameters.chunk(2, -1))
        return self._discrete(parameters)

    def _discrete(self, logits: Tensor) -> Distribution:
        if self.action_spec.kind == "categorical":
            return Categorical(logits)
        if self.action_spec.kind == "multi_categorical":
            return MultiCategorical(logits, self.action_spec.sizes)
        return Bernoulli(logits)

    def for_acting(self) -> Self:
        """Keep what computes in bf16 in bf16, so that no pass converts it; learning ends here."""
        for encoder in self.encoder.image_encoders:
            assert isinstance(encoder, ImageEncoder)
            encoder.to(encoder.precision)
        return self

    def weights(self, version: int) -> Weights:
        """Copy parameters and normalizer out."""
        return Weights(version, to_arrays(self))

    def load(self, weights: Weights) -> None:
        """Copy parameters and normalizer in."""
        load_arrays(self, weights.arrays)


class ActorCritic(nn.Module):
    """A policy and, if the estimator needs one, a critic.

    The critic has an encoder of its own for vectors, and shares the policy's where there are
    images.
    """

    def __init__(
        self, policy: Policy, parts: Architecture, *, with_critic: bool, detached: bool = False
    ) -> None:
        """Put a critic beside the policy; detached, its loss leaves what they share alone."""
        super().__init__()
        self.policy = policy
        self.detached = detached
        self.shared = any(leaf.kind == "image" for leaf in policy.obs_spec.leaves)
        self.critic = nn.ModuleDict()
        if with_critic:
            if not self.shared:
                self.critic["encoder"] = ObsEncoder(policy.obs_spec, parts)
            head = nn.Linear(policy.encoder.num_features, 1, bias=not policy.encoder.is_table)
            self.critic["head"] = orthogonal(head, gain=1.0)

    def forward(self, obs: Mapping[str, Tensor]) -> tuple[Distribution, Tensor | None]:
        """Return the distribution and, with a critic, V(s) for *normalized* {leaf: [*B, *O]}."""
        features, known = self._features(obs)
        distribution = self.policy.distribution(features)
        return distribution, self.critic["head"](known).squeeze(-1) if self.critic else None

    def outputs(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Return the distribution's parameters and V(s), or 0 for it, side by side, [*B, P + 1]."""
        features, known = self._features(obs)
        parameters = self.policy.parameters_of(features)
        values = self.critic["head"](known) if self.critic else features.new_zeros(())
        return torch.cat([parameters, values.expand(*parameters.shape[:-1], 1)], -1)

    def values(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Return V(s) [*B] for normalized {leaf: [*B, *O]}; there must be a critic."""
        encoder = self.policy.encoder if self.shared else self.critic["encoder"]
        return self.critic["head"](encoder(obs)).squeeze(-1)

    def _features(self, obs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Encode for the policy and for the critic."""
        features = self.policy.encoder(obs)
        if self.critic and not self.shared:
            return features, self.critic["encoder"](obs)
        return features, features.detach() if self.detached else features


def to_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """Copy a module's parameters and buffers into arrays by name."""
    return {name: tensor.numpy(force=True).copy() for name, tensor in module.state_dict().items()}


def load_arrays(module: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Copy arrays into a module's parameters and buffers.

    Raises:
        InputError: a name is missing or left over, or a shape differs.
    """
    own = module.state_dict()
    for name in sorted(own.keys() | arrays.keys()):
        have = describe(arrays.get(name))
        need = describe(own.get(name))
        if have != need:
            raise InputError(f"the saved network differs: {name} is {have}, {need} is expected")
    with torch.no_grad():
        for name, tensor in own.items():
            # `torch.tensor` copies: the arrays may be read-only views of shared memory
            tensor.copy_(torch.tensor(arrays[name]))


def describe(array: Any) -> str:
    """Name an array's shape, for a message."""
    return "absent" if array is None else f"{list(array.shape)}"
