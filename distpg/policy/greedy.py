"""The policy as one function of tensors, from raw observations to the environment's actions."""

from typing import Any

import torch
from torch import Tensor, nn

from distpg.policy.actor_critic import Policy
from distpg.policy.bounded import Beta
from distpg.policy.distributions import (
    Bernoulli,
    Categorical,
    DiagonalGaussian,
    Distribution,
    MultiCategorical,
)
from distpg.policy.tensor_array import TensorArray

ACTION = "action"
STATE, NEXT_STATE = "recurrent_state", "next_recurrent_state"


class GreedyPolicy(nn.Module):
    """Acts as `SavedPolicy.act` does; the recurrent state is an input and an output."""

    def __init__(self, policy: Policy) -> None:
        """Take a policy, whose weights and statistics do not change any more."""
        super().__init__()
        self.policy = policy
        self.leaves = [leaf.name for leaf in policy.obs_spec.leaves]
        self.is_recurrent = policy.recurrent is not None
        self.constants = policy.normalizer.constants()

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Act for one step of B envs.

        Args:
            inputs: The leaves of raw observations, [B, *O] each; then, if the policy is recurrent,
                its state [B, S], zeros where an episode starts.

        Returns:
            By name: actions without noise as the env accepts them, [B, *shape]; the parameters of
            their distribution; and, if the policy is recurrent, the next state [B, S].
        """
        obs = dict(zip(self.leaves, inputs, strict=False))
        state = inputs[-1] if self.is_recurrent else torch.zeros(0)
        outputs, next_state = self.policy.step(obs, state, self.constants)
        distribution = self.policy.distribution_of(outputs)
        sampled: Any = TensorArray(distribution.greedy())
        actions: Any = self.policy.action_spec.to_env(self.policy.to_bounds(sampled))
        found = {ACTION: actions.tensor, **parameters(distribution)}
        return {**found, NEXT_STATE: next_state} if self.is_recurrent else found


def parameters(distribution: Distribution) -> dict[str, Tensor]:
    """Return the parameters of a distribution of B actions as sampled, by name, float32.

    Raises:
        TypeError: it is of a kind that no policy has.
    """
    if isinstance(distribution, Categorical | Bernoulli):
        return {"logits": distribution.logits}
    if isinstance(distribution, MultiCategorical):
        return {"logits": torch.cat([choice.logits for choice in distribution.choices], -1)}
    if isinstance(distribution, DiagonalGaussian):
        mean = distribution.mean
        return {"mean": mean, "log_std": distribution.log_std.expand_as(mean)}
    if isinstance(distribution, Beta):
        return {"alpha": distribution.alpha.float(), "beta": distribution.beta.float()}
    raise TypeError(f"the parameters of a {type(distribution).__name__} have no names")
