"""A policy with the recurrent state of each env, for acting step after step by torch."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Generator, Tensor

from distpg.policy.actor_critic import Policy
from distpg.policy.behaviour import HeldNoise
from distpg.policy.distributions import Distribution
from distpg.policy.exploration import StateDependentExploration


class ActingPolicy:
    """Acts on N envs with fixed weights; a feed-forward policy has a recurrent state of size 0."""

    def __init__(self, policy: Policy, recurrent_state: Tensor) -> None:
        """Continue from a recurrent state [N, S], zeros where an episode starts."""
        self.policy = policy
        self.recurrent_state = recurrent_state
        self.constants = policy.normalizer.constants()
        self.held_noise = HeldNoise[Tensor](policy.noise_steps)

    def generator(self, seed: int) -> Generator:
        """Make what `act` draws actions with."""
        return Generator().manual_seed(seed)

    # not the whole rollout: environments may use autograd
    @torch.inference_mode()
    def act(
        self,
        obs: Mapping[str, np.ndarray],
        needs_reset: np.ndarray,
        generator: Generator | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose an action for each of N envs, as in `BehaviourPolicy`."""
        tensors = {name: torch.from_numpy(leaf) for name, leaf in obs.items()}
        outputs, recurrent_state = self.policy.step(tensors, self.recurrent_state, self.constants)
        if self.policy.recurrent_state_size:
            resets = torch.from_numpy(needs_reset).unsqueeze(-1)
            self.recurrent_state = torch.where(resets, 0.0, recurrent_state)
        distribution = self.policy.distribution_of(outputs)
        actions = (
            distribution.greedy() if generator is None else self._sample(distribution, generator)
        )
        return actions.numpy(), outputs.numpy()

    def _sample(self, distribution: Distribution, generator: Generator) -> Tensor:
        if isinstance(distribution, StateDependentExploration):
            noise = self.held_noise.next(lambda: distribution.draw(generator))
            return distribution.sample_from(noise)
        return distribution.sample(generator)

    @torch.inference_mode()
    def log_prob(self, actions: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Return log pi(a|s), [*B], of actions as sampled given outputs [*B, num_outputs]."""
        distribution = self.policy.distribution_of(torch.from_numpy(outputs))
        return distribution.log_prob(torch.from_numpy(actions)).numpy()


def by_torch(policy: Policy) -> Callable[[int], ActingPolicy]:
    """Return a function that makes what acts in N envs, where episodes start."""
    return lambda num_envs: ActingPolicy(policy, torch.zeros(num_envs, policy.recurrent_state_size))
