"""What is refused before it is learned from."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from distpg.config import Config
from distpg.envs.make import find_env
from distpg.errors import RunError
from distpg.learner.learner import Learner
from distpg.records import Rollout
from distpg.rollout import RolloutWorker


@pytest.fixture
def played() -> tuple[Learner, list[Rollout]]:
    config = Config(num_workers=0, num_slots=2, num_envs=2, num_steps=8, minibatch_size=8)
    source = find_env("CartPole-v1", {})
    workers = [RolloutWorker(config, source, slot) for slot in range(2)]
    learner = Learner(config, workers[0].envs.obs_spec, workers[0].envs.action_spec)
    return learner, [worker.collect(learner.weights(), 0).rollout for worker in workers]


def spoiled(rollout: Rollout, name: str, place: tuple[int, ...]) -> Rollout:
    changes: dict[str, Any] = {}
    if name == "obs":
        obs = rollout.obs["obs"].copy()
        obs[place] = np.inf
        changes["obs"] = {"obs": obs}
    else:
        rewards = rollout.rewards.copy()
        rewards[place] = np.nan
        changes["rewards"] = rewards
    return dataclasses.replace(rollout, **changes)


@pytest.mark.parametrize(
    ("name", "place", "field"),
    [("rewards", (5, 1), "reward"), ("obs", (5, 1, 2), "observation obs")],
)
def test_what_is_not_finite_is_refused_by_slot_env_step_and_field(
    played: tuple[Learner, list[Rollout]], name: str, place: tuple[int, ...], field: str
) -> None:
    learner, rollouts = played
    message = f"slot 1, env 1: the {field} at step 5 of the rollout is not finite"
    with pytest.raises(RunError, match=message):
        learner.update([rollouts[0], spoiled(rollouts[1], name, place)])
    assert learner.version == 0
