"""Environments of the tests' own, each made for one thing that a test looks at."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

Info = dict[str, Any]
Stepped = tuple[Any, float, bool, bool, Info]


class Counting(gym.Env[Any, Any]):
    """Observes (identity, episode, step, last action); pays 10 x step + action.

    A seeded reset draws a new identity and starts with episode 0. Episode e of identity i has
    `lengths[(i + e) % len(lengths)]` steps and ends as `ends[e % len(ends)]` says.
    """

    def __init__(
        self, lengths: Sequence[int] = (3, 1, 4), ends: Sequence[str] = ("terminated", "truncated")
    ) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.lengths, self.ends = list(lengths), list(ends)
        self.identity = self.episode = self.count = 0
        self.action = -1

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        if seed is None:
            self.episode += 1
        else:
            self.identity, self.episode = int(self.np_random.integers(10**6)), 0
        self.count, self.action = 0, -1
        return self._observe(), {}

    def step(self, action: Any) -> Stepped:
        reward = 10 * self.count + int(action)
        self.count, self.action = self.count + 1, int(action)
        done = self.count == self.lengths[(self.identity + self.episode) % len(self.lengths)]
        how = self.ends[self.episode % len(self.ends)]
        return (
            self._observe(),
            reward,
            done and how != "truncated",
            done and how != "terminated",
            {},
        )

    def _observe(self) -> Any:
        return np.array([self.identity, self.episode, self.count, self.action], np.float32)


class WaitsForTheLog(Counting):
    """At its tenth step it waits until a run's log.txt has a text."""

    def __init__(self, log: str, text: str) -> None:
        super().__init__()
        self.log, self.text, self.steps = Path(log), text, 0

    def step(self, action: Any) -> Stepped:
        self.steps += 1
        while self.steps == 10 and self.text not in self.log.read_text():
            time.sleep(0.01)
        return super().step(action)


class PaysOne(gym.Env[Any, Any]):
    """Pays 1 for ever; there is nothing to see."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action: Any) -> Stepped:
        return np.ones(1, np.float32), 1.0, False, False, {}


class Package:
    """What holds a class that has a name of two parts."""

    class PaysOne(PaysOne):
        """Found as Package.PaysOne."""


class Talks(PaysOne):
    """Prints where it can, and pays 1 for five steps."""

    def __init__(self) -> None:
        super().__init__()
        print("made")

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        print("reset")
        self.left = 5
        return super().reset(seed=seed)

    def step(self, action: Any) -> Stepped:
        print("step")
        self.left -= 1
        obs, reward, _, truncated, info = super().step(action)
        return obs, reward, self.left == 0, truncated, info

    def close(self) -> None:
        print("closed")


def pays_one_for_ten_steps() -> gym.Env[Any, Any]:
    """Cut `PaysOne` by a time limit."""
    return TimeLimit(PaysOne(), 10)


class Echo(gym.Env[Any, Any]):
    """Observes the action that it was given, as it was given."""

    def __init__(
        self, low: Sequence[float] = (-0.2, 0.1), high: Sequence[float] = (0.3, 2)
    ) -> None:
        self.action_space = spaces.Box(np.array(low, np.float32), np.array(high, np.float32))
        self.observation_space = spaces.Box(-np.inf, np.inf, self.action_space.shape, np.float32)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        return np.zeros(self.action_space.shape or (), np.float32), {}

    def step(self, action: Any) -> Stepped:
        return np.array(action, np.float32), 0.0, False, False, {}


NESTED = spaces.Dict(
    {
        "image": spaces.Box(0, 255, (12, 10, 3), np.uint8),
        "place": spaces.Tuple((spaces.Discrete(3, start=-1), spaces.Box(-1, 1, (2,), np.float64))),
    }
)
PLAIN_OBS = spaces.Box(-1, 1, (3,), np.float32)
KINDS: dict[str, tuple[gym.Space[Any], gym.Space[Any]]] = {
    "nested obs": (NESTED, spaces.Discrete(2)),
    "tuple obs": (spaces.Tuple((spaces.Discrete(2), PLAIN_OBS)), spaces.Discrete(2)),
    "discrete obs": (spaces.Discrete(5, start=2), spaces.Discrete(4, start=-2)),
    "multi-discrete obs": (spaces.MultiDiscrete([2, 3]), spaces.Discrete(2)),
    "multi-binary obs": (spaces.MultiBinary(4), spaces.Discrete(2)),
    "image obs": (spaces.Box(0, 255, (12, 10, 3), np.uint8), spaces.Discrete(2)),
    "float64 obs": (spaces.Box(-1, 1, (2, 3), np.float64), spaces.Discrete(2)),
    "scalar obs": (spaces.Box(-1, 1, (), np.float32), spaces.Discrete(2)),
    "unbounded action": (PLAIN_OBS, spaces.Box(-np.inf, np.inf, (2,), np.float32)),
    "asymmetric action": (
        PLAIN_OBS,
        spaces.Box(np.array([-0.1, 0.2], np.float32), np.array([0.0, 9.0], np.float32)),
    ),
    "scalar action": (PLAIN_OBS, spaces.Box(-0.1, 0.1, (), np.float64)),
    "matrix action": (PLAIN_OBS, spaces.Box(-0.1, 0.1, (2, 2), np.float64)),
    "multi-discrete action": (PLAIN_OBS, spaces.MultiDiscrete([3, 2], start=[1, -1])),
    "multi-binary action": (PLAIN_OBS, spaces.MultiBinary(3)),
    "text obs": (spaces.Text(5), spaces.Discrete(2)),
    "dict action": (PLAIN_OBS, spaces.Dict({"a": spaces.Discrete(2)})),
}
UNSUPPORTED = ("text obs", "dict action")
SUPPORTED = tuple(kind for kind in KINDS if kind not in UNSUPPORTED)


class AnyKind(gym.Env[Any, Any]):
    """Observes samples of a space and accepts nothing but its actions; five steps an episode."""

    def __init__(self, kind: str = "float64 obs") -> None:
        self.observation_space, self.action_space = KINDS[kind]
        self.count = 0

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.count = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Stepped:
        if not self.action_space.contains(action):
            raise ValueError(f"{action!r} is not in {self.action_space}")
        self.count += 1
        return self.observation_space.sample(), 1.0, self.count == 5, False, {}


class Breaks(gym.Env[Any, Any]):
    """Raises at its step number `after`, counted over all episodes; none if that is 0."""

    def __init__(self, after: int = 0) -> None:
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.after, self.count = after, 0

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action: Any) -> Stepped:
        self.count += 1
        if self.count == self.after:
            raise ValueError("the reactor is on fire")
        return self._observe(), 1.0, self.count % 5 == 0, False, {}

    def _observe(self) -> Any:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


class Hangs(PaysOne):
    """Never comes back from a step."""

    def step(self, action: Any) -> Stepped:
        time.sleep(3600)
        return super().step(action)


class Remembers(gym.Env[Any, Any]):
    """A random walk that offers its state."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.place = np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=2).astype(np.float32)
        return self.place.copy(), {}

    def step(self, action: Any) -> Stepped:
        self.place += self.np_random.normal(size=2) + int(action)
        return self.place.copy(), float(self.place[0]), bool(abs(self.place[1]) > 4), False, {}

    def get_state(self) -> dict[str, Any]:
        return {"place": self.place.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        self.place = np.array(state["place"])


class Levels(gym.Env[Any, Any]):
    """Pays its level in each of five steps; offers its state."""

    level = 0.0

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.count = 0

    @property
    def guarded(self) -> int:
        """What cannot be set."""
        return 0

    @guarded.setter
    def guarded(self, value: int) -> None:
        raise ValueError("hands off")

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Stepped:
        self.count += 1
        return np.full(1, self.level, np.float32), self.level, self.count == 5, False, {}

    def get_state(self) -> dict[str, Any]:
        return {"count": self.count}

    def set_state(self, state: dict[str, Any]) -> None:
        self.count = int(state["count"])


class Compass(gym.Env[Any, Any]):
    """Looks as MiniGrid does, and takes one step: turn towards the goal, or go on if it is ahead.

    The goal is north, east, south or west of the middle of the image, whatever the direction. Each
    cell holds codes of object, colour and state; `brightness` times them, they are a picture.
    """

    EMPTY, WALL, GOAL = (1, 0, 0), (2, 5, 0), (8, 1, 0)
    PLACES = ((0, 3), (3, 6), (6, 3), (3, 0))
    LEFT, RIGHT, FORWARD = range(3)
    TO_GOAL = ((FORWARD,), (RIGHT,), (RIGHT, LEFT), (LEFT,))
    """Actions that are right for a goal so many quarters of a turn to the right."""

    def __init__(self, *, brightness: int = 1, text: bool = False) -> None:
        parts: dict[str, gym.Space[Any]] = {
            "image": spaces.Box(0, 255, (7, 7, 3), np.uint8),
            "direction": spaces.Discrete(4),
        }
        self.brightness = brightness
        self.text = {"mission": "get there"} if text else {}
        self.observation_space = spaces.Dict(parts | {name: spaces.Text(9) for name in self.text})
        self.action_space = spaces.Discrete(3)
        self.goal = self.direction = 0

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        self.goal, self.direction = map(int, self.np_random.integers(4, size=2))
        return self._observe(), {}

    def step(self, action: Any) -> Stepped:
        right = self.TO_GOAL[(self.goal - self.direction) % 4]
        return self._observe(), float(int(action) in right), True, False, {}

    def _observe(self) -> Any:
        image = np.full((7, 7, 3), self.EMPTY, np.uint8)
        image[[0, -1]] = image[:, [0, -1]] = self.WALL
        image[self.PLACES[self.goal]] = self.GOAL
        return {"image": self.brightness * image, "direction": self.direction, **self.text}


def register() -> None:
    """Make the ids known, as a user's module does when it is imported."""
    for name, limit in {
        "Counting": None,
        "AnyKind": None,
        "Breaks": None,
        "Hangs": None,
        "Remembers": 12,
        "Compass": None,
    }.items():
        if f"{name}-v0" not in gym.registry:
            gym.register(f"{name}-v0", f"tests.environments:{name}", max_episode_steps=limit)


register()
