import itertools
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest

from distpg.envs.diamond_hill import LEFT, RIGHT, START, transitions
from distpg.envs.make import find_env, make_vector_env


def play(env_id: str, actions: list[int], seed: int) -> tuple[list[float], bool, bool]:
    env = gym.make(env_id)
    env.reset(seed=seed)
    rewards: list[float] = []
    for action in actions:
        _, reward, terminated, truncated, _ = env.step(action)
        rewards.append(float(reward))
        if terminated or truncated:
            return rewards, terminated, truncated
    raise AssertionError("the game did not end")


def test_right_from_the_start_takes_the_flag() -> None:
    assert play("distpg/DiamondHill-v0", [RIGHT], 0) == ([10.0], True, False)


def test_left_left_takes_the_diamond_and_falls_into_the_fire() -> None:
    assert play("distpg/DiamondHill-v0", [LEFT, LEFT], 0) == ([3.0, -10.0], True, False)


def test_the_third_step_is_the_last_and_a_termination() -> None:
    ends = [play("distpg/DiamondHill-v0", [LEFT, RIGHT, LEFT], seed) for seed in range(20)]
    assert ([3.0, 0.0, 0.0], True, False) in ends


def test_one_climb_in_ten_slips_into_the_fire() -> None:
    ends = Counter(
        tuple(play("distpg/DiamondHill-v0", [LEFT, RIGHT, RIGHT], seed)[0]) for seed in range(2000)
    )
    assert set(ends) == {(3.0, 0.0, 10.0), (3.0, -10.0)}
    assert ends[3.0, -10.0] == pytest.approx(200, abs=54)  # four standard deviations


def test_the_truncated_game_is_cut_after_two_steps() -> None:
    ends = [play("distpg/DiamondHillTruncated-v0", [LEFT, RIGHT], seed) for seed in range(20)]
    assert ([3.0, 0.0], False, True) in ends
    # an end on the last step is both, as gymnasium's time limit has it
    assert play("distpg/DiamondHillTruncated-v0", [LEFT, LEFT], 0) == ([3.0, -10.0], True, True)


def test_the_ways_of_every_step_have_probability_one() -> None:
    nodes = {START}
    for _ in range(3):
        ways = [w for n, a in itertools.product(nodes, (LEFT, RIGHT)) for w in transitions(n, a)]
        nodes |= {way.successor for way in ways if not way.terminated}
    assert len(nodes) == 3
    for node, action in itertools.product(nodes, (LEFT, RIGHT)):
        assert sum(way.probability for way in transitions(node, action)) == 1.0


def test_it_observes_its_position_and_whether_the_diamond_is_there() -> None:
    envs = make_vector_env(find_env("distpg/DiamondHill-v0", {}), 2)
    np.testing.assert_array_equal(envs.reset([1, 2])["obs"], [[2, 1], [2, 1]])
    step = envs.step(np.array([LEFT, RIGHT]))
    np.testing.assert_array_equal(step.obs["obs"], [[1, 0], [3, 1]])
    np.testing.assert_array_equal(step.terminated, [False, True])
    assert envs.get_state() is not None


def test_tabular_it_observes_the_number_of_what_it_would_observe() -> None:
    envs = make_vector_env(find_env("distpg/DiamondHill-v0", {"tabular": True}), 2)
    # twice the position, and 1 while the diamond lies on the slope
    np.testing.assert_array_equal(envs.reset([1, 2])["obs"], [5, 5])
    step = envs.step(np.array([LEFT, RIGHT]))
    np.testing.assert_array_equal(step.obs["obs"], [2, 7])
    (leaf,) = envs.obs_spec.leaves
    assert (leaf.kind, leaf.sizes) == ("categories", (8,))


def test_tabular_or_not_the_game_is_the_same() -> None:
    for actions, seed in itertools.product(itertools.product((LEFT, RIGHT), repeat=3), range(5)):
        plays: list[list[tuple[float, bool]]] = []
        for tabular in (False, True):
            env = gym.make("distpg/DiamondHill-v0", tabular=tabular)
            obs, _ = env.reset(seed=seed)
            plays.append([])
            for action in actions:
                assert env.observation_space.contains(obs)
                obs, reward, terminated, _, _ = env.step(action)
                plays[-1].append((float(reward), terminated))
                if terminated:
                    break
        assert plays[0] == plays[1]
