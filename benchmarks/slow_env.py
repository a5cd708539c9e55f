"""An environment whose steps take 10 ms and no processor: `benchmarks.slow_env:Slow-v0`."""

import time
from typing import Any

import gymnasium as gym
import numpy as np

STEP_S = 0.01


class Slow(gym.Env[np.ndarray, Any]):
    """Sleeps through each step; there is nothing to see, and no end."""

    def __init__(self, obs_size: int = 4) -> None:
        """Describe what there is."""
        self.observation_space = gym.spaces.Box(0, 1, (obs_size,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.nothing = np.zeros(obs_size, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin the only episode."""
        super().reset(seed=seed)
        return self.nothing, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Wait."""
        time.sleep(STEP_S)
        return self.nothing, 0.0, False, False, {}

    def get_state(self) -> dict[str, Any]:
        """Return that there is none, so that slots can collect again."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Stay as it is."""


gym.register("Slow-v0", "benchmarks.slow_env:Slow")
