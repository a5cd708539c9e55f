"""A saved policy, ready to act without Ray and without the run that made it."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from distpg.errors import InputError
from distpg.policy.actor_critic import Policy
from distpg.policy.file import PolicyFile


class SavedPolicy:
    """Acts on observations as the environment gives them."""

    def __init__(
        self, file: PolicyFile, seed: int = 0, *, encoder: type[nn.Module] | str | None = None
    ) -> None:
        """Build the network of a policy file.

        Args:
            file: The policy.
            seed: Of actions that are drawn.
            encoder: The class, or module:Class, that a policy with an encoder of the user's was
                trained with. What the file names is never imported.

        Raises:
            InputError: the file describes no network, or one with another encoder.
        """
        named = file.architecture.encoder
        if named is not None and encoder is None:
            raise InputError(
                f"the policy was trained with --encoder {named}, and no file has its code "
                "imported; give it: load_policy(run, encoder=the class)"
            )
        if named is None and encoder is not None:
            raise InputError(f"the policy was trained without --encoder; leave {encoder} out")
        parts = replace(file.architecture, encoder=encoder)
        try:
            self.policy = Policy(file.obs_spec, file.action_spec, parts)
        except InputError:
            raise
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"no network is made of the policy's header: {error}") from error
        self.policy.load(file.weights)
        self.generator = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def act(self, obs: Any, *, stochastic: bool = False) -> Any:
        """Choose actions that the environment accepts.

        Args:
            obs: One observation as the env's `step` returns it (array, number, dict or tuple), or a
                batch of them, stacked on a first axis.
            stochastic: Draw from the policy; else take its most likely action.

        Returns:
            One action or a batch, within the bounds of the action space.

        Raises:
            InputError: the observation is not of the policy's shape.
        """
        spec = self.policy.obs_spec
        leaves = spec.read(obs)
        batch_shape = spec.batch_shape(leaves)
        tensors = {
            leaf.name: torch.from_numpy(leaves[leaf.name].reshape(-1, *leaf.shape))
            for leaf in spec.leaves
        }
        distribution = self.policy(tensors)
        chosen = distribution.sample(self.generator) if stochastic else distribution.mode()
        bounded = self.policy.to_bounds(chosen.numpy())
        actions = self.policy.action_spec.to_env(bounded)
        actions = actions.reshape((*batch_shape, *actions.shape[1:]))
        # an empty index turns an array without axes into a number
        return actions[()]
