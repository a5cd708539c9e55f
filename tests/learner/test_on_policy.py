"""What is refused before it is learned from."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from distpg.config.config import Config
from distpg.envs.make import find_env
from distpg.errors import AnomalyError, RunError
from distpg.learner.learner import Learner
from distpg.learner.on_policy import check_update_finite
from distpg.records import Rollout
from distpg.rollout.worker import RolloutWorker
from tests.learner.runs import assert_same, assert_same_state


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
    message = f"slot 1, env 1: the {field} at step 5 of the rollout is not finite: (nan|inf); "
    with pytest.raises(RunError, match=message):
        learner.update([rollouts[0], spoiled(rollouts[1], name, place)])
    assert learner.version == 0


def test_where_an_episode_ended_in_no_number_it_is_refused_though_its_value_counts_for_nothing(
    played: tuple[Learner, list[Rollout]],
) -> None:
    learner, rollouts = played
    ended, valid = rollouts[1].terminated.copy(), rollouts[1].valid.copy()
    ended[3, 0], valid[4, 0] = True, False
    spoilt = dataclasses.replace(
        spoiled(rollouts[1], "obs", (4, 0, 2)), terminated=ended, valid=valid
    )
    message = "slot 1, env 0: the observation obs after at step 3"
    with pytest.raises(RunError, match=message):
        learner.update([rollouts[0], spoilt])


def test_a_single_sample_of_another_policy_is_refused_whatever_minibatch_it_is_in(
    played: tuple[Learner, list[Rollout]],
) -> None:
    learner, rollouts = played
    rollouts[0].logprobs[2, 1] += 0.05
    with pytest.raises(RunError, match="slot 0 was not collected with this policy"):
        learner.update(rollouts)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("tag", ["train/policy_gradient_loss", "gradient/norm"])
def test_a_loss_or_a_norm_that_is_no_number_is_refused(tag: str, value: float) -> None:
    sound = {"train/policy_gradient_loss": 1.0, "gradient/norm": 2.0}
    check_update_finite(sound, 7, finite=True)
    with pytest.raises(AnomalyError, match=f"update 7: {tag} is not finite"):
        check_update_finite({**sound, tag: value}, 7, finite=True)
    with pytest.raises(AnomalyError, match="update 7: a parameter is not finite"):
        check_update_finite(sound, 7, finite=False)


def test_an_update_that_blows_up_is_not_passed_on(
    played: tuple[Learner, list[Rollout]],
) -> None:
    learner, rollouts = played
    before = learner.state()
    blown = dataclasses.replace(rollouts[0], rewards=np.full_like(rollouts[0].rewards, 1e30))
    weights, update = learner.update([blown, rollouts[1]])
    assert update.rolled_back
    assert_same(weights.arrays, before.policy.arrays)
    assert_same_state(learner.snapshot(), before)
    with pytest.raises(AnomalyError, match="not finite"):
        learner.improve([blown, rollouts[1]])


@pytest.mark.parametrize("algo", ["ppo", "reinforce"])
def test_what_an_env_does_after_its_last_episode_changes_nothing_even_if_it_is_no_number(
    algo: str,
) -> None:
    config = Config(algo=algo, num_workers=0, num_slots=1, num_envs=4, episodes_per_env=1)
    worker = RolloutWorker(config, find_env("CartPole-v1", {}), 0)
    specs = worker.envs.obs_spec, worker.envs.action_spec
    clean, spoilt = (Learner(config, *specs) for _ in range(2))
    rollout = worker.collect(clean.weights(), 0).rollout
    obs = rollout.obs["obs"].copy()
    led_to = np.pad(rollout.valid, ((1, 0), (0, 0)))
    beyond = ~np.pad(rollout.valid, ((0, 1), (0, 0))) & ~led_to
    assert beyond.any()
    obs[beyond] = np.nan
    clean.update([rollout])
    spoilt.update([dataclasses.replace(rollout, obs={"obs": obs})])
    assert clean.version == spoilt.version == 1
    for name, array in clean.weights().arrays.items():
        np.testing.assert_array_equal(array, spoilt.weights().arrays[name])
