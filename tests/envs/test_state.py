"""An environment's state as a value: saved and restored, it continues as if nothing happened."""

from typing import Any

import numpy as np
import pytest

from distpg.envs.make import find_env, make_vector_env
from distpg.envs.vector_env import Step, VectorEnv

NUM_ENVS = 3


def make(env_id: str) -> VectorEnv:
    return make_vector_env(find_env(env_id, {}), NUM_ENVS)


def random_actions(envs: VectorEnv, steps: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    spec = envs.action_spec
    shape = (NUM_ENVS, *spec.stored_shape)
    if spec.kind == "continuous":
        return [draw.uniform(-2, 2, shape).astype(np.float32) for _ in range(steps)]
    return [draw.integers(0, spec.sizes[0], shape) for _ in range(steps)]


def play(envs: VectorEnv, actions: list[np.ndarray]) -> list[Step]:
    """Step on; observations are copied, since the copies share their memory."""
    steps: list[Step] = []
    for action in actions:
        step = envs.step(action)
        steps.append(step._replace(obs={name: leaf.copy() for name, leaf in step.obs.items()}))
    return steps


def assert_same(first: list[Step], second: list[Step]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.obs["obs"], other.obs["obs"])
        for name in ("rewards", "terminated", "truncated", "needs_reset"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize(
    ("env_id", "before", "after"),
    [
        ("CartPole-v1", 37, 80),
        ("Pendulum-v1", 150, 260),
        ("MountainCar-v0", 150, 260),
        ("MountainCarContinuous-v0", 20, 40),
        ("Acrobot-v1", 20, 40),
        ("tests.environments:Remembers-v0", 8, 30),
    ],
)
def test_a_copy_goes_on_identically_through_ends_limits_and_resets(
    env_id: str, before: int, after: int
) -> None:
    original = make(env_id)
    actions = random_actions(original, before + after)
    original.reset([1, 2, 3])
    play(original, actions[:before])
    state = original.get_state()
    assert state is not None
    expected = play(original, actions[before:])
    # the state is a value: stepping on has not moved it, and it may be used again
    for _ in range(2):
        copy = make(env_id)
        copy.set_state(state)
        assert_same(expected, play(copy, actions[before:]))


def test_the_step_limit_goes_on_from_where_it_was() -> None:
    envs = make("Pendulum-v1")
    envs.reset([1, 2, 3])
    play(envs, random_actions(envs, 190))
    state = envs.get_state()
    assert state is not None
    copy = make("Pendulum-v1")
    copy.set_state(state)
    ends = [step.truncated.all() for step in play(copy, random_actions(copy, 10))]
    assert ends == [False] * 9 + [True]


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_a_pending_reset_is_part_of_the_state(env_id: str) -> None:
    original = make(env_id)
    actions = random_actions(original, 700)
    original.reset([1, 2, 3])
    at = next(t for t, action in enumerate(actions) if original.step(action).needs_reset.any())
    state = original.get_state()
    assert state is not None
    expected = play(original, actions[at + 1 : at + 5])
    copy = make(env_id)
    copy.set_state(state)
    assert_same(expected, play(copy, actions[at + 1 : at + 5]))


@pytest.mark.parametrize(
    "env_id",
    ["LunarLander-v3", "HalfCheetah-v5", "ALE/Pong-v5", "tests.environments:Counting-v0"],
)
def test_an_env_that_does_not_offer_its_state_has_none(env_id: str) -> None:
    envs: Any = make(env_id)
    envs.reset([1, 2, 3])
    assert envs.get_state() is None
