"""A saved policy, to act without Ray and without the run that it came from."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from distpg.config.names import Importable
from distpg.errors import InputError
from distpg.policy.acting import ActingPolicy
from distpg.policy.actor_critic import Policy
from distpg.policy.file import PolicyFile
from distpg.seeding import RNG, rng_seeds
from distpg.spaces import MASK, join_masks


class SavedPolicy:
    """Acts on observations as the environment returns them."""

    def __init__(
        self, file: PolicyFile, seed: int = 0, *, encoder: Importable | None = None
    ) -> None:
        """Build the network of a policy file.

        Args:
            file: The policy.
            seed: Of sampled actions.
            encoder: The class, or module:Class, of a policy with a user-defined encoder. What the
                file names is never imported.

        Raises:
            InputError: the file does not describe a network, or one with another encoder.
        """
        named = file.architecture.encoder
        if named is not None and encoder is None:
            raise InputError(
                f"the policy was trained with --encoder {named}; loading never imports code, so "
                "pass the class: load_policy(run, encoder=...)"
            )
        if named is None and encoder is not None:
            raise InputError(f"the policy was trained without --encoder; omit encoder={encoder}")
        parts = replace(file.architecture, encoder=encoder)
        try:
            self.policy = Policy(file.obs_spec, file.action_spec, parts)
        except InputError:
            raise
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"cannot build the network described in the policy file: {error}"
            ) from error
        self.policy.load(file.weights)
        (act_seed,) = rng_seeds(RNG.PLAY, seed)
        self.generator = torch.Generator().manual_seed(act_seed)

        self.reset()

    def reset(self) -> None:
        """Start an episode: reset the recurrent state, and gSDE's exploration matrix."""
        self.acting: ActingPolicy | None = None

    @torch.inference_mode()
    def act(self, obs: Any, *, action_mask: Any = None, stochastic: bool = False) -> Any:
        """Return actions that the environment accepts; updates the recurrent state.

        Args:
            obs: One observation as the env's `step` returns it (array, number, dict or tuple), or a
                batch of them, stacked on a first axis.
            action_mask: Allowed actions, [n] or [B, n], if the env has masks beside its
                observation: in its info, or by `action_masks()`.
            stochastic: Sample from the policy instead of acting without noise.

        Returns:
            One action or a batch, within the bounds of the action space.

        Raises:
            InputError: the observation does not have the policy's shape, its mask allows no action,
                or its batch size differs from that of the recurrent state.
        """
        spec = self.policy.obs_spec
        if action_mask is not None and not spec.is_masked:
            raise InputError("the policy was trained without action masks; omit action_mask")
        if action_mask is not None:
            nested = obs if isinstance(obs, Mapping) else {"obs": obs}
            obs = {**nested, MASK: join_masks(action_mask)}
        elif spec.is_masked and not (isinstance(obs, Mapping) and MASK in obs):
            raise InputError("this policy was trained with action masks; pass action_mask")
        leaves = spec.read(obs)
        batch_shape = spec.batch_shape(leaves)
        rows = {leaf.name: leaves[leaf.name].reshape(-1, *leaf.shape) for leaf in spec.leaves}
        num_envs = math.prod(batch_shape)
        if self.policy.action_spec.fully_masked(rows).any():
            raise InputError("an action mask allows no action")
        known = num_envs if self.acting is None else len(self.acting.recurrent_state)
        if self.policy.recurrent_state_size and known != num_envs:
            raise InputError(
                f"{num_envs} observations, but the recurrent state is for {known}; call reset() "
                "when an episode starts"
            )
        if self.acting is None or known != num_envs:
            state = torch.zeros(num_envs, self.policy.recurrent_state_size)
            self.acting = ActingPolicy(self.policy, state)
        resets = np.zeros(num_envs, dtype=bool)
        generator = self.generator if stochastic else None
        sampled, _ = self.acting.act(rows, resets, generator)
        bounded = self.policy.to_bounds(sampled)
        actions = self.policy.action_spec.to_env(bounded)
        actions = actions.reshape((*batch_shape, *actions.shape[1:]))
        # an empty index turns an array without axes into a number
        return actions[()]
