"""A policy whose weights change: acts by NumPy where the weights tell how, else by torch."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from distpg.policy.action_units import ActionUnits
from distpg.policy.architecture import Architecture
from distpg.policy.behaviour import BehaviourPolicy, NumpyPolicy
from distpg.records import Weights
from distpg.spaces import ActionSpec, ObsSpec

if TYPE_CHECKING:
    from distpg.policy.actor_critic import Policy


class Agent:
    """What a slot or an evaluation acts with; imports torch only if it has to."""

    def __init__(
        self,
        obs_spec: ObsSpec,
        action_spec: ActionSpec,
        parts: Architecture,
        *,
        acting: str = "auto",
    ) -> None:
        """Take the spaces, and the architecture of the weights to come.

        Where it is certain that they act by torch, it is imported now, while the learner starts.
        """
        self.obs_spec = obs_spec
        self.action_spec = action_spec
        self.parts = parts
        self.units = ActionUnits(action_spec, parts.action_distribution, parts.action_scale)
        pictures = any(leaf.kind == "image" for leaf in obs_spec.leaves)
        if acting == "torch" or pictures or parts.recurrent != "none" or parts.encoder is not None:
            self.policy = self._make_policy()

    @cached_property
    def policy(self) -> "Policy":
        """The network."""
        return self._make_policy()

    def _make_policy(self) -> "Policy":
        from distpg.policy.actor_critic import Policy

        return Policy(self.obs_spec, self.action_spec, self.parts).for_acting()

    def behaviour(self, weights: Weights, recurrent_state: np.ndarray) -> BehaviourPolicy:
        """Return the policy with these weights, for N envs with the recurrent state [N, S]."""
        if weights.acting is not None:
            return NumpyPolicy(weights.acting, weights.arrays, len(recurrent_state))
        import torch

        from distpg.policy.acting import ActingPolicy

        torch.set_num_threads(1)
        self.policy.load(weights)
        return ActingPolicy(self.policy, torch.from_numpy(recurrent_state))

    def first_state(self, num_envs: int) -> np.ndarray:
        """Return the recurrent state where episodes start, [N, S]."""
        return np.zeros((num_envs, self.parts.recurrent_state_size), np.float32)
