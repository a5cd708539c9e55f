"""Truncation is exact, from the env's step to the critic's value."""

from typing import Any

import pytest
import torch

from distpg.config.config import Config
from distpg.envs.make import find_env
from distpg.learner.learner import Learner
from distpg.rollout.worker import RolloutWorker
from tests.environments import Counting, pays_one_for_ten_steps
from tests.settings import config_of


def learn(config: Config, iterations: int, make_env: Any, kwargs: dict[str, Any]) -> Any:
    workers = [
        RolloutWorker(config, find_env(make_env, kwargs), slot) for slot in range(config.slots)
    ]
    learner = Learner(config, workers[0].envs.obs_spec, workers[0].envs.action_spec)
    weights, lengths, dropped = learner.weights(), 0, 0
    for iteration in range(iterations):
        collected = [worker.collect(weights, iteration) for worker in workers]
        weights, _ = learner.update([one.rollout for one in collected])
        lengths += sum(int(one.stats.episode_lengths.sum()) for one in collected)
        dropped += sum(one.stats.dropped_steps for one in collected)
    return learner, lengths, dropped


@pytest.mark.parametrize(
    "settings",
    [
        {"algo": "ppo", "num_steps": 25, "minibatch_size": None},
        {"algo": "ppo", "num_steps": 7, "gae_lambda": 0.0, "minibatch_size": None},
        {"algo": "a2c", "num_steps": 25},
        {"algo": "ppo", "episodes_per_env": 1, "minibatch_size": None},
        {"algo": "reinforce", "baseline": "value", "num_envs": 2},
    ],
    ids=["segments", "one-step", "a2c", "whole episodes", "reward to go with a critic"],
)
def test_an_env_that_pays_1_forever_and_is_cut_at_10_has_the_value_of_forever(
    settings: dict[str, Any],
) -> None:
    config = config_of(
        {
            "num_workers": 0,
            "num_envs": 2,
            "num_epochs": 5 if settings["algo"] == "ppo" else 1,
            "gamma": 0.9,
            "hidden_sizes": (8,),
            "learning_rate": 0.02,
            "max_grad_norm": 1e9,
            "normalize_obs": False,
            **settings,
        }
    )
    learner, _, _ = learn(config, 100, pays_one_for_ten_steps, {})
    with torch.no_grad():
        value = learner.model.values({"obs": torch.ones(1, 1)})
    assert float(value) == pytest.approx(1 / (1 - 0.9), rel=0.03)


@pytest.mark.parametrize("algo", ["ppo", "a2c", "reinforce"])
def test_whole_episodes_train_on_as_many_transitions_as_their_lengths_add_up_to(algo: str) -> None:
    config = Config(
        algo=algo,
        num_workers=0,
        num_slots=2,
        num_envs=2,
        episodes_per_env=2,
        hidden_sizes=(8,),
        minibatch_size=None,
    )
    learner, lengths, dropped = learn(config, 4, Counting, {"lengths": [3, 1, 9]})
    assert learner.trained_steps == lengths > 0
    assert dropped > 0
    assert learner.version == 4
