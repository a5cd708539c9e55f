"""Wrappers by flag: each copy is wrapped, or one message says why not."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import RescaleObservation, TimeLimit

from distpg import Config, InputError
from distpg.envs.copies import Copies
from distpg.envs.make import EnvSource, find_source, make_vector_env
from distpg.envs.native import NativeVectorEnv
from distpg.envs.vector_env import VectorEnv
from tests.environments import Counting

LIMIT = 'gymnasium.wrappers:TimeLimit{"max_episode_steps": 2}'


class Mentioned(Counting):
    """Says in words what it is about."""

    def __init__(self) -> None:
        super().__init__(lengths=[9])
        self.observation_space = spaces.Dict(
            {"state": self.observation_space, "mission": spaces.Text(20), "far": spaces.Discrete(2)}
        )

    def _observe(self) -> Any:
        return {"state": super()._observe(), "mission": "count", "far": 1}


class HalfMasked(gym.Wrapper[Any, Any, Any, Any]):
    """Forbids the last action."""

    def action_masks(self) -> list[bool]:
        return [True, True, False]


class Masking(Counting):
    """Observes its mask."""

    def __init__(self) -> None:
        super().__init__()
        parts = {"obs": self.observation_space, "action_mask": spaces.MultiBinary(3)}
        self.observation_space = spaces.Dict(parts)


class ClipReward(gym.Wrapper[Any, Any, Any, Any]):
    """Has the name of a wrapper of Gymnasium that has no state."""


def source(env_id: str, *wrappers: str, **settings: Any) -> EnvSource:
    return find_source(Config(env_id=env_id, env_wrapper=wrappers, **settings), None)


def make(env_id: str, *wrappers: str, **settings: Any) -> VectorEnv:
    return make_vector_env(source(env_id, *wrappers, **settings), 2)


def test_the_first_wrapper_is_the_innermost() -> None:
    inner_first = make("tests.environments:PaysOne", LIMIT, f"{__name__}:HalfMasked")
    assert isinstance(inner_first, Copies)
    for guard in inner_first.guards:
        assert isinstance(guard.env, HalfMasked)
        assert isinstance(guard.env.env, TimeLimit)
    inner_first.reset([0, 1])
    zeros = np.zeros(2, np.int64)
    assert [inner_first.step(zeros).truncated.all() for _ in range(2)] == [False, True]


def test_a_stack_has_the_last_observations_oldest_first() -> None:
    envs = make(f"{__name__}:Counting", LIMIT, frame_stack=3, env_kwargs={"lengths": [9]})
    assert envs.obs_spec.leaves[0].shape == (3, 4)
    steps = [envs.reset([0, 0])["obs"][0, :, 2].tolist()]
    ones = np.ones(2, np.int64)
    steps += [envs.step(ones).obs["obs"][0, :, 2].tolist() for _ in range(3)]
    # the count of steps; the first observation fills the stack
    assert steps == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [0, 0, 0]]


def test_what_is_wrapped_is_stepped_one_by_one() -> None:
    assert isinstance(make("CartPole-v1"), NativeVectorEnv)
    assert isinstance(make("CartPole-v1", LIMIT), Copies)
    assert isinstance(make("CartPole-v1", frame_stack=2), Copies)


def test_text_is_refused_with_the_wrapper_that_leaves_it_out() -> None:
    with pytest.raises(InputError, match="unsupported observation mission: Text") as refused:
        make(f"{__name__}:Mentioned")
    wrapper = str(refused.value).rpartition("--env-wrapper ")[2].strip("'")
    assert {leaf.name for leaf in make(f"{__name__}:Mentioned", wrapper).obs_spec.leaves} == {
        "state",
        "far",
    }


@pytest.mark.parametrize(
    ("env_id", "settings", "said"),
    [
        (f"{__name__}:Masking", {"frame_stack": 2}, "--frame-stack: 2 would stack the action mask"),
        ("CartPole-v1", {"env_wrapper": ("x",)}, "--env-wrapper: 'x' is not of the form"),
        ("CartPole-v1", {"env_wrapper": ("os:sep",)}, "--env-wrapper: os:sep: it is not a class"),
        ("CartPole-v1", {"env_wrapper": ("builtins:type",)}, "--env-wrapper: .* returned <class"),
        ("CartPole-v1", {"env_wrapper": ("math:floor",)}, "--env-wrapper: math:floor: cannot wrap"),
        ("ALE/Pong-v5", {"frame_stack": 2}, '--frame-stack: .*{"stack_num": 2}'),
        (
            "CartPole-v1",
            {"env_backend": "envpool", "frame_stack": 2},
            "--frame-stack: EnvPool steps all copies itself",
        ),
    ],
)
def test_what_cannot_be_wrapped_is_one_message(
    env_id: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        make_vector_env(find_source(Config(env_id=env_id, **settings), None), 2)


def test_a_wrapper_that_may_have_state_hides_the_state_of_the_env() -> None:
    rescaled = 'gymnasium.wrappers:RescaleObservation{"min_obs": -1, "max_obs": 1}'
    assert RescaleObservation.__module__.startswith("gymnasium.wrappers.")
    for wrappers, frame_stack, exposed in (
        ([], 1, True),
        (["gymnasium.wrappers:FlattenObservation"], 1, True),
        ([f"{__name__}:ClipReward"], 1, False),
        ([], 2, False),
        (["gymnasium.wrappers:TimeAwareObservation"], 1, False),
    ):
        envs = make("Acrobot-v1", *wrappers, frame_stack=frame_stack)
        envs.reset([0, 1])
        assert (envs.get_state() is not None) == exposed, (wrappers, frame_stack)
    assert make("Acrobot-v1", rescaled).obs_spec.leaves[0].shape == (6,)
