"""Tasks without their velocities, for policies that remember.

Each velocity is 0 in every observation, as in rl-zoo3's environments of the same names.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import WrapperSpec

VELOCITIES = {"CartPole-v1": (1, 3), "Pendulum-v1": (2,)}
"""Entries of the observation that are velocities."""


class HiddenEntries(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Sets entries of a vector observation to 0."""

    def __init__(self, env: gym.Env[Any, Any], entries: Sequence[int]) -> None:
        """Hide the entries with these indices."""
        gym.utils.RecordConstructorArgs.__init__(self, entries=entries)
        super().__init__(env)
        space = env.observation_space
        self.shown = np.ones(space.shape or (), space.dtype)
        self.shown[list(entries)] = 0

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """Return the observation with zeros."""
        return observation * self.shown


def register() -> None:
    """Register distpg/CartPoleNoVel-v1 and distpg/PendulumNoVel-v1."""
    for env_id, entries in VELOCITIES.items():
        spec, (name, version) = gym.spec(env_id), env_id.split("-")
        kwargs = {"entries": entries}
        hides = WrapperSpec("HiddenEntries", f"{__name__}:HiddenEntries", kwargs)
        gym.register(
            f"distpg/{name}NoVel-{version}",
            spec.entry_point,
            max_episode_steps=spec.max_episode_steps,
            additional_wrappers=(hides,),
        )
