"""CartPole that raises now and then, and writes down when: `benchmarks.failing_env:Failing-v0`."""

import time
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.classic_control.cartpole import CartPoleEnv


class Failing(CartPoleEnv):
    """Raises with some probability at each step."""

    def __init__(self, log: str, probability: float) -> None:
        """Take the file to write Unix times to."""
        super().__init__()
        self.log = Path(log)
        self.probability = probability

    def step(self, action: Any) -> Any:
        """Step, or raise."""
        if self.np_random.random() < self.probability:
            with self.log.open("a") as file:
                file.write(f"{time.time()}\n")
            raise RuntimeError("this environment fails now and then")
        return super().step(action)


gym.register("Failing-v0", "benchmarks.failing_env:Failing", max_episode_steps=500)
