"""A single copy of an environment, unguarded and with its values as returned, for `doctor`."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space, iterate

from distpg.envs.copies import Copies
from distpg.envs.make import EnvSource, make_vector_env
from distpg.envs.native import NativeVectorEnv


class Single:
    """One copy: the environment itself, or a `SingleEnv` if it is natively vectorized."""

    def __init__(self, source: EnvSource) -> None:
        """Make it.

        Raises:
            InputError: it cannot be made.
        """
        self.vector = vector = make_vector_env(source, 1)
        self.env: gym.Env[Any, Any]
        if isinstance(vector, Copies):
            self.env = vector.guards[0].env
        else:
            assert isinstance(vector, NativeVectorEnv), "a vector env is either"
            self.env = SingleEnv(vector)

    def close(self) -> list[str]:
        """Close it, ignoring errors; return its name if it did not close in time."""
        return self.vector.close()


class SingleEnv(gym.Env[Any, Any]):
    """A vector env of one copy as an env; a reset without a seed is the step that resets."""

    def __init__(self, vector: NativeVectorEnv) -> None:
        """Wrap a vector env of one copy."""
        self.vector = vector
        self.observation_space = vector.observation_space
        self.action_space = vector.action_space
        self.batch_space = batch_space(self.observation_space, 1)
        self.spec = vector.envs.spec

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset; after a lost life in an ALE game, which is not over, take a step instead."""
        if seed is None:
            obs, *_ = self.step(self.action_space.sample())
            return obs, {}
        self.action_space.seed(seed)
        return self._first_row(self.vector.reset_nested([seed])), {}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step the one copy."""
        obs, rewards, terminated, truncated, _ = self.vector.envs.step(np.asarray([action]))
        return self._first_row(obs), rewards[0], terminated[0], truncated[0], {}

    def close(self) -> None:
        """Close the vector env."""
        self.vector.close()

    def _first_row(self, obs: Any) -> Any:
        # a vector implementation may write the next observations into the same arrays
        (row,) = iterate(self.batch_space, copy.deepcopy(obs))
        return row
