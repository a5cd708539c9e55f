"""An environment's state as a value: saved and restored, it continues as if nothing happened."""

import hashlib
import multiprocessing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.registration import registry

from distpg.envs.make import find_env, make_vector_env
from distpg.envs.state import EnvState
from distpg.envs.vector_env import Step, VectorEnv
from distpg.errors import InputError
from distpg.rollout.slot_state import SlotState, slots_from_bytes, slots_to_bytes

NUM_ENVS = 3
MUJOCO = sorted(
    env_id
    for env_id, spec in registry.items()
    if str(spec.entry_point).startswith("gymnasium.envs.mujoco.") and env_id != "Pusher-v4"
)
"""All that gymnasium can make: Pusher-v4 refuses MuJoCo 3."""
SHORT = {"max_episode_steps": 90}
"""So that episodes end within the steps of a test."""


def make(env_id: str, **kwargs: Any) -> VectorEnv:
    return make_vector_env(find_env(env_id, kwargs), NUM_ENVS)


def random_actions(envs: VectorEnv, steps: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    spec = envs.action_spec
    shape = (NUM_ENVS, *spec.stored_shape)
    if spec.kind == "continuous":
        return [draw.uniform(-2, 2, shape).astype(np.float32) for _ in range(steps)]
    return [draw.integers(0, spec.sizes[0], shape) for _ in range(steps)]


def state_of(envs: VectorEnv) -> EnvState:
    state = envs.get_state()
    assert state is not None
    return state


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
        ("distpg/CartPoleNoVel-v1", 37, 80),
        ("distpg/PendulumNoVel-v1", 150, 260),
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
    state = state_of(original)
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
    state = state_of(envs)
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
    state = state_of(original)
    expected = play(original, actions[at + 1 : at + 5])
    copy = make(env_id)
    copy.set_state(state)
    assert_same(expected, play(copy, actions[at + 1 : at + 5]))


@pytest.mark.parametrize("env_id", MUJOCO)
def test_mujoco_goes_on_identically_from_any_step_of_an_episode(env_id: str) -> None:
    original, copy = make(env_id, **SHORT), make(env_id, **SHORT)
    actions = random_actions(original, 250)
    # what the copy did before does not count
    copy.reset([4, 5, 6])
    original.reset([1, 2, 3])
    # just reset; in the middle of an episode, with ends and resets to come
    for first, last in ((0, 50), (50, 250)):
        state = state_of(original)
        expected = play(original, actions[first:last])
        copy.set_state(state)
        assert_same(expected, play(copy, actions[first:last]))
        # observations are rounded to float32
        np.testing.assert_equal(state_of(copy).copies, state_of(original).copies)
    assert any(step.needs_reset.any() for step in expected[:-1])


@pytest.mark.thorough
def test_mujoco_goes_on_identically_in_another_process(tmp_path: Path) -> None:
    digests: list[str] = []
    newest = [env_id for env_id in MUJOCO if env_id.endswith("-v5")]
    assert len(newest) == 11
    for env_id in newest:
        envs = make(env_id, **SHORT)
        actions = random_actions(envs, 250)
        envs.reset([1, 2, 3])
        last = play(envs, actions[:50])[-1]
        state = state_of(envs)
        zeros = np.zeros(NUM_ENVS)
        slot = SlotState(0, last.obs, last.needs_reset, zeros, zeros.astype(int), zeros, state)
        (tmp_path / env_id).write_bytes(slots_to_bytes([slot]))
        digests.append(digest(play(envs, actions[50:])))
    with multiprocessing.get_context("spawn").Pool(1) as other:
        assert other.map(digest_from, [tmp_path / env_id for env_id in newest]) == digests


def digest_from(path: Path) -> str:
    """Hash 200 steps from the state in a file, which is named as the environment is."""
    (slot,) = slots_from_bytes(path.read_bytes())
    envs = make(path.name, **SHORT)
    envs.set_state(slot.envs)
    return digest(play(envs, random_actions(envs, 250)[50:]))


def digest(steps: list[Step]) -> str:
    content = hashlib.sha256()
    for step in steps:
        for array in (step.obs["obs"], step.rewards, step.terminated, step.truncated):
            content.update(array.tobytes())
    return content.hexdigest()


def test_a_state_of_another_model_is_refused() -> None:
    hopper, cheetah = make("Hopper-v5"), make("HalfCheetah-v5")
    cheetah.reset([1, 2, 3])
    with pytest.raises(InputError, match=r"has \d+ numbers; MuJoCo \S+ expects \d+: it is of"):
        hopper.set_state(state_of(cheetah))


class Tired(HopperEnv):
    """Has a state of its own."""

    steps = 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        return super().step(action * 0.99**self.steps)


def sleeping(**kwargs: Any) -> gym.Env[Any, Any]:
    """Make one whose model uses an optional feature of MuJoCo's."""
    env = gym.make("Hopper-v5", **kwargs)
    inner = env.unwrapped
    assert isinstance(inner, MujocoEnv)
    inner.model.opt.enableflags = 1 << 4
    return env


@pytest.mark.parametrize(
    "env_id",
    [
        "LunarLander-v3",
        "ALE/Pong-v5",
        "tests.environments:Counting-v0",
        f"{__name__}:Tired",
        f"{__name__}:sleeping",
    ],
)
def test_an_env_that_does_not_offer_its_state_has_none(env_id: str) -> None:
    envs: Any = make(env_id)
    envs.reset([1, 2, 3])
    assert envs.get_state() is None
