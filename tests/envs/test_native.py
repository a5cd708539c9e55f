"""A vector implementation that returns what Gymnasium's API does not allow is named."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from distpg.envs.native import NativeVectorEnv
from distpg.errors import EnvError, RunError

SOUND: tuple[Any, ...] = (np.zeros((2, 1), np.float32), np.ones(2), *np.zeros((2, 2), bool), {})


class Scripted(gym.vector.VectorEnv[Any, Any, Any]):
    """Two copies that return what they are given."""

    def __init__(self, first: Any, then: Any) -> None:
        self.num_envs = 2
        self.single_observation_space = spaces.Box(-1, 1, (1,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.first, self.then = first, then

    def reset(self, **_: Any) -> Any:
        return self.first() if callable(self.first) else self.first

    def step(self, actions: Any) -> Any:
        return self.then() if callable(self.then) else self.then


def leave() -> None:
    raise SystemExit(4)


def stepped(then: Any = SOUND, first: Any = (SOUND[0], {})) -> Any:
    envs = NativeVectorEnv(lambda: Scripted(first, then), "Env-v0")
    envs.reset([0, 1])
    return envs.step(np.zeros(2, np.int64))


def test_what_the_api_allows_is_read() -> None:
    assert stepped().rewards.tolist() == [1, 1]
    assert stepped((*SOUND[:4], None)).rewards.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (leave, r"sys.exit\(4\)"),
        (SOUND[:4], r"step\(\) returned 4 values"),
        ((SOUND[0], ["1", "1"], *SOUND[2:]), "the reward is '1'"),
        ((*SOUND[:2], np.array(["False"] * 2), *SOUND[3:]), "terminated is .*not a bool"),
        ((*SOUND[:4], {"action_mask": np.ones((2, 2))}), "had none at the first reset"),
    ],
    ids=["exit", "four", "text", "flag", "mask"],
)
def test_what_it_does_not_allow_is_named(then: Any, said: str) -> None:
    with pytest.raises(RunError, match=said):
        stepped(then)


def test_a_reset_is_read_as_a_step_is() -> None:
    with pytest.raises(RunError, match=r"reset\(\) returned"):
        stepped(first=SOUND[0])
    with pytest.raises(RunError, match=r"sys.exit\(4\)"):
        stepped(first=leave)


def test_the_copy_is_named() -> None:
    rewards = [1.0, None]
    with pytest.raises(EnvError, match="the reward is None") as caught:
        stepped((SOUND[0], rewards, *SOUND[2:]))
    assert caught.value.env == 1
