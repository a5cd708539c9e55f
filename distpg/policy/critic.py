"""The critic beside a policy, which only the learner needs."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distpg.policy.actor_critic import Policy, initialize_own_layers, make_recurrent
from distpg.policy.architecture import Architecture
from distpg.policy.categories import Lookup
from distpg.policy.custom import make_encoder
from distpg.policy.distributions import Distribution
from distpg.policy.layers import MLP, orthogonal
from distpg.policy.recurrent import CRITIC_STATE


class ActorCritic(nn.Module):
    """A policy and, if the estimator needs one, a critic.

    The critic has its own encoder for vectors; images are encoded once for both. Beside a recurrent
    policy, `recurrent_critic` is one of

    - shared: the critic's features are those of the policy's recurrent layer, whatever is observed;
    - own: after its encoder the critic has a recurrent layer of its own, as with
      `enable_critic_lstm` in RecurrentPPO of SB3-Contrib, its default;
    - none: the critic has no memory, as with neither `enable_critic_lstm` nor `shared_lstm` there.

    RecurrentPPO's `shared_lstm` is shared, but for the value loss, which does not train the layer
    there. Its hidden layers come after the recurrent one. Here they come before, except those that
    `value_hidden_sizes` adds to a critic after what it shares.
    """

    def __init__(
        self, policy: Policy, parts: Architecture, *, with_critic: bool, detached: bool = False
    ) -> None:
        """Add a critic to the policy; if detached, its loss does not train what they share."""
        super().__init__()
        self.policy = policy
        self.detached = detached
        images = any(leaf.kind == "image" for leaf in policy.obs_spec.leaves)
        recurrent = policy.recurrent is not None
        self.shares_memory = recurrent and parts.recurrent_critic == "shared"
        self.shared = images or self.shares_memory
        """Whether the critic's features come from layers of the policy."""
        self.critic = nn.ModuleDict()
        if with_critic:
            self._add_critic(parts, remembers=recurrent and parts.recurrent_critic == "own")
            if not parts.orthogonal_init:
                initialize_own_layers(self.critic)

    def _add_critic(self, parts: Architecture, *, remembers: bool) -> None:
        encoder = self.policy.encoder
        if not self.shared:
            encoder = self.critic["encoder"] = make_encoder(self.policy.obs_spec, parts.of_critic)
        count = self.policy.num_features if self.shares_memory else encoder.num_features
        if remembers:
            self.critic["recurrent"] = make_recurrent(count, parts)
            count = parts.recurrent_size
        if self.shared and parts.value_hidden_sizes:
            layers = MLP(count, parts.value_hidden_sizes, parts.activation)
            self.critic["hidden"], count = layers, layers.num_features
        linear = Lookup if encoder.gives_columns else nn.Linear
        is_table = encoder.is_table and not (remembers or self.shares_memory)
        self.critic["head"] = orthogonal(linear(count, 1, bias=not is_table), gain=1.0)

    def forward(self, obs: Mapping[str, Tensor]) -> tuple[Distribution, Tensor | None]:
        """Return the distribution and, with a critic, V(s) for *normalized* {leaf: [*B, *O]}."""
        features, critic_features = self._features(obs)
        distribution = self.policy.distribution_of(self.policy.outputs(features, obs))
        if not self.critic:
            return distribution, None
        return distribution, self.critic["head"](critic_features).squeeze(-1)

    def outputs(self, obs: Mapping[str, Tensor], *, only_values: bool = False) -> Tensor:
        """Return the distribution's parameters and V(s), or 0 for it, side by side, [*B, P + 1].

        With `only_values` there are no parameters, [*B, 1].
        """
        features, critic_features = self._features(obs)
        parameters = features[..., :0]
        if not only_values:
            parameters = self.policy.parameters_of(self.policy.outputs(features, obs))
        values = self.critic["head"](critic_features) if self.critic else features.new_zeros(())
        return torch.cat([parameters, values.expand(*parameters.shape[:-1], 1)], -1)

    def values(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Return V(s) [*B] for normalized {leaf: [*B, *O]}; there must be a critic."""
        features = self.critic_encoder(obs)
        if self.shares_memory:
            features = self.policy.unroll(features, obs)
        return self.critic["head"](self._own_layers(features, obs)).squeeze(-1)

    def critic_encoder(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Encode normalized {leaf: [*B, *O]} for the critic, [*B, F]."""
        return self.policy.encoder(obs) if self.shared else self.critic["encoder"](obs)

    def _features(self, obs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Encode for the policy and for the critic's head."""
        encoded = self.policy.encoder(obs)
        features = self.policy.unroll(encoded, obs)
        if not self.critic:
            return features, features
        if not self.shared:
            return features, self._own_layers(self.critic["encoder"](obs), obs)
        common = features if self.shares_memory else encoded
        return features, self._own_layers(common.detach() if self.detached else common, obs)

    def _own_layers(self, features: Tensor, obs: Mapping[str, Tensor]) -> Tensor:
        """Apply the critic's own layers between what is encoded and its head."""
        if "recurrent" in self.critic:
            features = self.critic["recurrent"](features, obs, CRITIC_STATE)
        return self.critic["hidden"](features) if "hidden" in self.critic else features
