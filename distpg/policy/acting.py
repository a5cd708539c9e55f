"""A policy as it acts, step after step: it carries the memory of each env."""

from collections.abc import Mapping

import torch
from torch import Tensor

from distpg.policy.actor_critic import Policy


class Actor:
    """Acts on N envs with fixed weights; a feed-forward policy has a memory of no numbers."""

    def __init__(self, policy: Policy, memory: Tensor) -> None:
        """Go on from [N, S] memory, zeros where an episode starts."""
        self.policy = policy
        self.memory = memory
        self.constants = policy.normalizer.constants()

    def outputs(self, obs: Mapping[str, Tensor], over: Tensor) -> Tensor:
        """Return what the head makes of raw observations {leaf: [N, *O]}, [N, num_outputs].

        Args:
            obs: Of the step to take.
            over: [N] bool: the step resets this env, after which it remembers nothing.
        """
        outputs, memory = self.policy.step(obs, self.memory, self.constants)
        if self.policy.num_memory:
            self.memory = torch.where(over.unsqueeze(-1), 0.0, memory)
        return outputs
