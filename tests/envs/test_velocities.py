"""Tasks without velocities: the same task, but for zeros where the velocities are."""

import gymnasium as gym
import numpy as np
import pytest

from distpg.envs.velocities import HiddenEntries


@pytest.mark.parametrize(
    ("env_id", "hidden", "limit"),
    [("CartPole-v1", [1, 3], 500), ("Pendulum-v1", [2], 200)],
)
def test_all_but_the_velocities_is_as_it_was(env_id: str, hidden: list[int], limit: int) -> None:
    name, version = env_id.split("-")
    envs = [gym.make(x) for x in (env_id, f"distpg/{name}NoVel-{version}")]
    whole, obs = (env.reset(seed=3)[0] for env in envs)
    assert envs[1].spec is not None
    assert envs[1].spec.max_episode_steps == limit
    for _ in range(10):
        assert envs[1].observation_space.contains(obs)
        assert (obs[hidden] == 0).all()
        assert (whole[hidden] != 0).all()
        shown = np.delete(whole, hidden), np.delete(obs, hidden)
        np.testing.assert_array_equal(*shown)
        action = envs[0].action_space.sample()
        (whole, *outcome), (obs, *other) = (env.step(action) for env in envs)
        assert outcome == other


def test_nan_is_not_hidden() -> None:
    env = HiddenEntries(gym.make("Pendulum-v1"), [2])
    assert np.isnan(env.observation(np.full(3, np.nan, np.float32))).all()
