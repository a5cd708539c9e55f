"""The evaluation of a policy in the course of a run."""

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from distpg.config.config import Config
from distpg.envs.make import find_env
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.rollout.evaluation import Evaluator


class PaysTheAction(gym.Env[Any, Any]):
    """Observes 5 and pays the action; episodes have 3 steps."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(0, 10, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.count = 0

    def reset(self, **words: Any) -> Any:
        super().reset(**words)
        self.count = 0
        return np.full(1, 5, np.float32), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        return np.full(1, 5, np.float32), float(action), self.count == 3, False, {}


@pytest.mark.parametrize(("mean", "action"), [(10.0, 1), (0.0, 0)])
def test_it_acts_with_the_mode_under_the_statistics_that_came_with_the_weights(
    mean: float, action: int
) -> None:
    config = Config(
        num_workers=0,
        hidden_sizes=(),
        normalize_obs=True,
        eval_every=1,
        eval_episodes=5,
        num_envs=2,
    )
    evaluator = Evaluator(config, find_env(PaysTheAction, {}))
    specs = evaluator.envs.obs_spec, evaluator.envs.action_spec
    weights = Policy(*specs, Architecture.of(config)).weights(0)
    # the logits are x and -x of the normalized 5: -1 if the mean is 10, else 1
    given = {"weight": np.array([[1.0], [-1.0]]), "bias": np.zeros(2)}
    given |= {"count": np.array(9.0), "mean": np.array([mean]), "variance": np.array([25.0])}
    arrays = {
        name: given[name.rpartition(".")[2]].astype(array.dtype)
        for name, array in weights.arrays.items()
    }
    for _ in range(2):
        evaluation = evaluator.begin(dataclasses.replace(weights, arrays=arrays))
        while evaluation is None:
            evaluation = evaluator.advance()
        assert list(evaluation.returns) == [3.0 * action] * 5
        assert list(evaluation.lengths) == [3] * 5
