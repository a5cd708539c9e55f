"""The policy: from observations to action distributions."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from distpg.errors import InputError
from distpg.policy.action_units import ActionUnits
from distpg.policy.architecture import Architecture
from distpg.policy.bounded import Beta, SquashedGaussian
from distpg.policy.categories import Lookup
from distpg.policy.custom import CustomEncoder, make_encoder
from distpg.policy.distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    Distribution,
    MultiCategorical,
    limit_log_std,
    output_of_log_std,
)
from distpg.policy.exploration import StateDependentExploration
from distpg.policy.layers import initialize_by_default, orthogonal
from distpg.policy.normalizer import Constants, ObsNormalizer
from distpg.policy.recurrent import Recurrent
from distpg.records import Weights
from distpg.spaces import MASK, ActionSpec, ObsSpec

CONTINUOUS: dict[str, type[DiagonalGaussian | Beta]] = {
    "gaussian": DiagonalGaussian,
    "squashed_gaussian": SquashedGaussian,
    "beta": Beta,
    "gsde": StateDependentExploration,
}


class Policy(nn.Module):
    """From observations to an action distribution: normalizer, encoder, recurrent layer, head."""

    recurrent: Recurrent | None
    log_std: nn.Parameter | None
    """[A] of a state-independent Gaussian, [F, A] of gSDE's exploration matrix; else None."""
    noise_steps: int
    """Steps for which an action's noise is held; 0 holds it for a whole rollout."""

    def __init__(self, obs_spec: ObsSpec, action_spec: ActionSpec, parts: Architecture) -> None:
        """Build and initialize the networks.

        Raises:
            InputError: the spaces do not have what the action distribution needs.
        """
        super().__init__()
        parts.check(obs_spec, action_spec)
        self.obs_spec = obs_spec
        self.action_spec = action_spec
        self.is_masked = obs_spec.is_masked
        self.normalizer = ObsNormalizer(
            obs_spec.leaves, enabled=parts.normalize_obs, clip=parts.clip_obs
        )
        self.encoder = make_encoder(obs_spec, parts)
        self.recurrent = None
        if parts.recurrent != "none":
            inputs = self.encoder.num_features
            self.recurrent = make_recurrent(inputs, parts)
        self.recurrent_state_size = parts.recurrent_state_size
        self.num_features = (self.recurrent or self.encoder).num_features
        self.family = CONTINUOUS[parts.action_distribution]
        continuous = action_spec.kind == "continuous"
        self.units = ActionUnits(action_spec, parts.action_distribution, parts.action_scale)
        gaussian = continuous and self.family is not Beta
        self.explores = continuous and self.family is StateDependentExploration
        self.noise_steps = parts.sde_sample_freq if self.explores else 1
        free = gaussian and (parts.log_std == "free" or self.explores)
        self.limits_log_std = gaussian and not free
        self.num_outputs = sum(action_spec.sizes) or action_spec.stored_shape[0]
        if continuous and not free:
            self.num_outputs *= 2
        self.is_table = self.encoder.is_table and not self.recurrent
        linear = Lookup if self.encoder.gives_columns else nn.Linear
        head = linear(self.num_features, self.num_outputs, bias=not self.is_table)
        self.head = orthogonal(head, gain=0.01)
        if not parts.orthogonal_init:
            initialize_own_layers(self)
        shape = (self.num_features, self.num_outputs) if self.explores else (self.num_outputs,)
        self.log_std = nn.Parameter(torch.full(shape, float(parts.log_std_init))) if free else None
        if self.limits_log_std and parts.log_std_init:
            self._start_log_std(output_of_log_std(parts.log_std_init))
        if self.explores:
            self.num_outputs += self.num_features

    @torch.no_grad()
    def _start_log_std(self, output: float) -> None:
        """Add a number to the head's outputs for the log standard deviation."""
        rows = slice(self.num_outputs // 2, None)
        if self.is_table:
            # without a bias: every observation adds up a column for each of its categories
            self.head.weight[rows] += output / sum(len(leaf.sizes) for leaf in self.obs_spec.inputs)
        else:
            self.head.bias[rows] += output

    def forward(self, obs: Mapping[str, Tensor]) -> Distribution:
        """Return the action distribution for normalized {leaf: [*B, *O]}."""
        return self.distribution_of(self.outputs(self.features(obs), obs))

    def step(
        self, obs: Mapping[str, Tensor], recurrent_state: Tensor, constants: Mapping[str, Constants]
    ) -> tuple[Tensor, Tensor]:
        """Act for one step of N envs.

        Args:
            obs: Raw, {leaf: [N, *O]}.
            recurrent_state: [N, S] before the step.
            constants: Of the normalizer, computed once for many steps.

        Returns:
            [N, num_outputs] as `outputs` returns them, and the next recurrent state [N, S].
        """
        features = self.encoder(self.normalizer(obs, constants))
        if self.recurrent is not None:
            features, recurrent_state = self.recurrent.step(features, recurrent_state)
        return self.outputs(features, obs), recurrent_state

    def features(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Encode normalized {leaf: [*B, *O]} as [*B, F]; [B, F] if the policy is recurrent."""
        return self.unroll(self.encoder(obs), obs)

    def unroll(self, encoded: Tensor, obs: Mapping[str, Tensor]) -> Tensor:
        """Apply the recurrent layer, if there is one, to what the encoder returned."""
        return encoded if self.recurrent is None else self.recurrent(encoded, obs)

    def outputs(self, features: Tensor, obs: Mapping[str, Tensor]) -> Tensor:
        """Return the head's outputs for [*B, F] features, [*B, num_outputs].

        Those of gSDE end with the features.
        If `obs` has a mask, actions that are not allowed get the lowest logit: their probability is
        0, and so is its gradient.
        """
        outputs = self.head(features)
        if self.is_masked:
            outputs = outputs.masked_fill(obs[MASK] == 0, torch.finfo(outputs.dtype).min)
        if self.explores:
            outputs = torch.cat([outputs, features], -1)
        return outputs

    def distribution_of(self, outputs: Tensor) -> Distribution:
        """Return the action distribution for [*B, num_outputs] outputs of the head."""
        if self.log_std is not None:
            return self.family(outputs, self.log_std)
        return self.rebuild(outputs)

    def parameters_of(self, outputs: Tensor) -> Tensor:
        """Return the distribution's parameters, [*B, P], from which `rebuild` makes it again."""
        if self.log_std is None:
            return outputs
        distribution = self.distribution_of(outputs)
        assert isinstance(distribution, DiagonalGaussian)
        mean, log_std = distribution.mean, distribution.log_std
        return torch.cat([mean, log_std.expand_as(mean)], -1)

    def parameters_at(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Return them for normalized {leaf: [*B, *O]}."""
        return self.parameters_of(self.outputs(self.features(obs), obs))

    def rebuild(self, parameters: Tensor) -> Distribution:
        """Return the distribution of [*B, P] parameters; of gSDE, the Gaussian of its actions."""
        if self.action_spec.kind == "categorical":
            return Categorical(parameters)
        if self.action_spec.kind == "multi_categorical":
            return MultiCategorical(parameters, self.action_spec.sizes)
        if self.action_spec.kind == "binary":
            return Bernoulli(parameters)
        return self._continuous(parameters)

    def _continuous(self, parameters: Tensor) -> DiagonalGaussian | Beta:
        first, second = parameters.chunk(2, -1)
        if self.explores:
            return DiagonalGaussian(first, second)
        return self.family(first, limit_log_std(second) if self.limits_log_std else second)

    def to_bounds(self, actions: np.ndarray) -> np.ndarray:
        """Map sampled actions to what `VectorEnv.step` accepts, [*B] or [*B, A]."""
        return self.units.to_bounds(actions)

    def from_env(self, actions: Any) -> np.ndarray:
        """Map actions that the env accepts, [B, *shape], to ones as sampled, [B] or [B, A].

        Raises:
            InputError: they are not actions of the env.
        """
        return self.units.from_env(actions)

    @torch.no_grad()
    def mean_std(self, parameters: Tensor) -> float:
        """Return the mean standard deviation of continuous actions, in the units of a rollout.

        The current one if it is state-independent, else that of the [B, P] parameters.
        """
        if self.log_std is None or self.explores:
            return float(self._continuous(parameters).std().mean())
        return float(self.log_std.exp().mean())

    def for_acting(self) -> Self:
        """Make inference cheaper, if possible; the policy can no longer be trained."""
        self.encoder.for_acting()
        return self

    def weights(self, version: int) -> Weights:
        """Copy parameters and normalizer into arrays."""
        return Weights(version, to_arrays(self))

    def load(self, weights: Weights) -> None:
        """Copy parameters and normalizer from arrays."""
        load_arrays(self, weights.arrays)


def make_recurrent(num_inputs: int, parts: Architecture) -> Recurrent:
    """Make the recurrent layer of a policy, or of a critic."""
    return Recurrent(parts.recurrent, num_inputs, parts.recurrent_size, parts.recurrent_layers)


def initialize_own_layers(network: nn.Module) -> None:
    """Initialize all children but a user-defined encoder as torch does by default."""
    for child in network.children():
        if not isinstance(child, CustomEncoder):
            initialize_by_default(child)


def to_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """Copy a module's parameters and buffers into arrays by name."""
    return {name: tensor.numpy(force=True).copy() for name, tensor in module.state_dict().items()}


def load_arrays(module: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Copy arrays into a module's parameters and buffers.

    Raises:
        InputError: a name is missing or unknown, or a shape differs.
    """
    own = module.state_dict()
    for name in sorted(own.keys() | arrays.keys()):
        have = shape_of(arrays.get(name))
        need = shape_of(own.get(name))
        if have != need:
            raise InputError(f"the saved network differs: {name} is {have}, {need} is expected")
    with torch.no_grad():
        for name, tensor in own.items():
            # `torch.tensor` copies: the arrays may be read-only views of shared memory
            tensor.copy_(torch.tensor(arrays[name]))


def shape_of(array: Any) -> str:
    """Format an array's shape for a message."""
    return "absent" if array is None else f"{list(array.shape)}"
