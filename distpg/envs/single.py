"""One copy of an environment as it is by itself: unguarded, its values not cast.

The user's own where copies are stepped one after the other; else the only row of a vector
implementation.
"""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space, iterate

from distpg.envs.guard import Guard
from distpg.envs.make import EnvSource, make_vector_env
from distpg.envs.vector_env import VectorEnv


def single(source: EnvSource) -> gym.Env[Any, Any]:
    """Make one copy.

    Raises:
        InputError: it cannot be made.
    """
    vector = make_vector_env(source, 1)
    if not isinstance(vector.envs, gym.vector.SyncVectorEnv):
        return Row(vector)
    (guard,) = vector.envs.envs
    assert isinstance(guard, Guard), "copies that are stepped one after the other are guarded"
    return guard.env


class Row(gym.Env[Any, Any]):
    """A vector env of one copy as an env; a reset without a seed is the step that resets."""

    def __init__(self, vector: VectorEnv) -> None:
        """Take over a vector env of one copy."""
        self.vector = vector
        self.observation_space = vector.envs.single_observation_space
        self.action_space = vector.envs.single_action_space
        self.rows = batch_space(self.observation_space, 1)
        self.spec = vector.envs.spec

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset; after a life lost in an ALE game, which plays on, take a step."""
        if seed is None:
            obs, *_ = self.step(self.action_space.sample())
            return obs, {}
        return self._row(self.vector.reset_nested([seed])), {}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step."""
        outcome = self.vector.envs.step(np.asarray([action]))
        obs, rewards, terminated, truncated, _ = outcome
        return self._row(obs), rewards[0], terminated[0], truncated[0], {}

    def close(self) -> None:
        """Close the vector env."""
        self.vector.close()

    def _row(self, obs: Any) -> Any:
        # a vector implementation may write the next observations into the same arrays
        (row,) = iterate(self.rows, copy.deepcopy(obs))
        return row
