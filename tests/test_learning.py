"""Whole runs on small tasks with known answers: what is learned, not how fast."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from distpg.config.config import Config
from distpg.envs.make import find_env
from distpg.learner.learner import Learner
from distpg.progress import Progress
from distpg.rollout.in_process import InProcessWorkers
from distpg.train import StopCondition, train_loop
from tests.iterations import no_evaluation


class BrightSide(gym.Env[np.ndarray, np.int64]):
    """One step: half of a noisy image is brighter; name that half. Nothing but the pixels tells."""

    observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.bright = int(self.np_random.integers(2))
        return self._image(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self._image(), float(action == self.bright), True, False, {}

    def _image(self) -> np.ndarray:
        image = self.np_random.integers(0, 128, (36, 36, 1))
        image[:, 18 * self.bright : 18 * (self.bright + 1)] += 100
        return image.astype(np.uint8)


def train_in_process(config: Config, make_env: type[gym.Env[Any, Any]]) -> Progress:
    workers = InProcessWorkers(config, find_env(make_env, {}))
    envs = workers.slots[0].envs
    learner = Learner(config, envs.obs_spec, envs.action_spec)
    stop = StopCondition(config.total_steps, config.stop_at_return)
    progress, _ = train_loop(workers, learner, stop, no_evaluation, [], Progress())
    return progress


def test_convolutions_learn_what_only_the_pixels_tell() -> None:
    config = Config(
        num_workers=0,
        num_envs=16,
        num_steps=16,
        num_epochs=4,
        minibatch_size=32,
        learning_rate=1e-3,
        total_steps=8000,
        stop_at_return=0.98,
    )
    assert train_in_process(config, BrightSide).reached(0.98)
