"""What a rollout worker acts with; needs no torch."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from distpg.policy.operations import Calculation, use_one_thread
from distpg.records import ActingPrograms
from distpg.spaces import ActionSpec, Obs, ObsSpec

LEAST_NOISE = np.float32(2**-24)
"""What stands for exponential noise of 0, which NumPy draws in float32 once in 2^23 times: the
middle of what it rounds to 0.
"""

Noise = TypeVar("Noise")


class HasSpaces(Protocol):
    """What knows its spaces: an agent, or a vector env."""

    obs_spec: ObsSpec
    action_spec: ActionSpec


class BehaviourPolicy(Protocol):
    """A policy with fixed weights, and the recurrent state of N envs."""

    recurrent_state: Any
    """[N, S] array or tensor, before the next step."""

    def generator(self, seed: int) -> Any:
        """Make what `act` draws actions with."""
        ...

    def act(
        self, obs: Mapping[str, np.ndarray], needs_reset: np.ndarray, generator: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose an action for each env, and update its recurrent state.

        Args:
            obs: Raw, {leaf: [N, *O]}.
            needs_reset: [N] bool: this step resets the env, and with it the recurrent state.
            generator: Sample with it; None acts without noise.

        Returns:
            actions: [N] or [N, A] as sampled, before `ActionUnits.to_bounds`.
            outputs: [N, num_outputs] of the policy's head, which `log_prob` needs.
        """
        ...

    def log_prob(self, actions: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Return log pi(a|s), [T, N], of actions given the outputs of their steps, [T, N, ...]."""
        ...


class HeldNoise(Generic[Noise]):
    """The noise of the actions of a rollout, where several steps share a draw."""

    def __init__(self, steps: int) -> None:
        """Hold a draw for so many steps; 0 holds the first one."""
        self.steps = steps
        self.done = 0
        self.held: Noise | None = None

    def next(self, draw: Callable[[], Noise]) -> Noise:
        """Return the noise of the next step, which is drawn if that is due."""
        if self.held is None or (self.steps and self.done % self.steps == 0):
            self.held = draw()
        self.done += 1
        return self.held


class NumpyPolicy:
    """Acts by programs that were traced from a feed-forward policy."""

    def __init__(
        self, programs: ActingPrograms, arrays: Mapping[str, np.ndarray], num_envs: int
    ) -> None:
        """Take the policy's arrays, for N envs."""
        use_one_thread()
        self.programs = programs
        self.arrays = arrays
        self.num_envs = num_envs
        self.recurrent_state = np.zeros((num_envs, 0), np.float32)
        self.held_noise = HeldNoise[np.ndarray](programs.noise_steps)

    @cached_property
    def _sample(self) -> Calculation:
        return Calculation(self.programs.sample, self.arrays, self.num_envs)

    @cached_property
    def _greedy(self) -> Calculation:
        return Calculation(self.programs.greedy, self.arrays, self.num_envs)

    def generator(self, seed: int) -> np.random.Generator:
        """Make what `act` draws actions with."""
        return np.random.default_rng(seed)

    def act(
        self,
        obs: Mapping[str, np.ndarray],
        needs_reset: np.ndarray,
        generator: np.random.Generator | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose an action for each env, as in `BehaviourPolicy`."""
        if generator is None:
            actions, outputs = self._greedy(obs)
        else:
            noise = self.held_noise.next(lambda: self.noise(generator))
            actions, outputs = self._sample(obs, noise)
        return actions, outputs

    def noise(self, generator: np.random.Generator) -> np.ndarray:
        """Draw the noise of a step, [N, num_noise] float32."""
        shape = (self.num_envs, self.programs.num_noise)
        if self.programs.noise == "normal":
            return generator.standard_normal(shape, np.float32)
        if self.programs.noise == "uniform":
            return generator.random(shape, np.float32)
        # where it is 0, the least likely action would win
        noise = generator.standard_exponential(shape, np.float32)
        return np.maximum(noise, LEAST_NOISE)

    def log_prob(self, actions: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Return log pi(a|s), [T, N], of actions given the outputs of their steps, [T, N, ...]."""
        steps, rows = outputs.shape[:2], outputs.shape[0] * outputs.shape[1]
        calculation = Calculation(self.programs.log_prob, self.arrays, rows)
        flat = actions.reshape(rows, *actions.shape[2:]), outputs.reshape(rows, -1)
        (logprobs,) = calculation({}, *flat)
        return logprobs.reshape(steps)


def first_stuck(spaces: HasSpaces, obs: Obs, needs_reset: np.ndarray) -> int | None:
    """Return an env whose action mask allows no action, if there is one."""
    if not spaces.obs_spec.is_masked:
        return None
    stuck = spaces.action_spec.fully_masked(obs) & ~needs_reset
    return int(stuck.argmax()) if stuck.any() else None
