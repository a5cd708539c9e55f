"""Environments that each have one fault, around one that has none."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import NormalizeObservation

Info = dict[str, Any]
Stepped = tuple[Any, Any, Any, Any, Info]


class Stateless(gym.Env[Any, Any]):
    """A random walk on [-1, 1]^2 that ends with probability 0.1."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.count = 0
        self.place = np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        self.count = 0
        self.place = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.place.copy(), {}

    def step(self, action: Any) -> Stepped:
        self.count += 1
        move = self.np_random.normal(size=2).astype(np.float32) / 10
        self.place = np.clip(self.place + move + int(action) / 100, -1, 1)
        return self.place.copy(), float(self.place[0]), self.np_random.random() < 0.1, False, {}


class Sound(Stateless):
    """One that exposes its state."""

    def get_state(self) -> Info:
        return {"place": self.place.copy(), "count": self.count}

    def set_state(self, state: Info) -> None:
        self.place, self.count = np.array(state["place"]), int(state["count"])


class NanObs(Sound):
    def step(self, action: Any) -> Stepped:
        obs, *rest = super().step(action)
        return (obs * np.nan if self.count == 5 else obs, *rest)  # pyright: ignore[reportReturnType]


class InfiniteReward(Sound):
    def step(self, action: Any) -> Stepped:
        obs, _, *rest = super().step(action)
        return (obs, np.inf, *rest)  # pyright: ignore[reportReturnType]


class TextReward(Sound):
    def step(self, action: Any) -> Stepped:
        obs, _, *rest = super().step(action)
        return (obs, "1", *rest)  # pyright: ignore[reportReturnType]


class RewardInArray(Sound):
    def step(self, action: Any) -> Stepped:
        obs, reward, *rest = super().step(action)
        return (obs, np.array([reward]), *rest)  # pyright: ignore[reportReturnType]


class FlagInList(Sound):
    def step(self, action: Any) -> Stepped:
        obs, reward, terminated, *_ = super().step(action)
        return obs, reward, [terminated], [False], {}


class WrongDtype(Sound):
    def step(self, action: Any) -> Stepped:
        obs, *rest = super().step(action)
        return (obs.astype(np.float64), *rest)  # pyright: ignore[reportReturnType]


class WrongShape(Sound):
    def step(self, action: Any) -> Stepped:
        obs, *rest = super().step(action)
        return (obs[:1], *rest)  # pyright: ignore[reportReturnType]


class OutOfSpace(Sound):
    def step(self, action: Any) -> Stepped:
        obs, *rest = super().step(action)
        return (obs + 3, *rest)  # pyright: ignore[reportReturnType]


class OutOfCategories(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        return np.int64(0), {}

    def step(self, action: Any) -> Stepped:
        _, *rest = super().step(action)
        return (np.int64(3), *rest)  # pyright: ignore[reportReturnType]


class Unseeded(Stateless):
    def step(self, action: Any) -> Stepped:
        obs, _, *rest = super().step(action)
        return (obs, np.random.random(), *rest)  # pyright: ignore[reportReturnType]


class Endless(Sound):
    def step(self, action: Any) -> Stepped:
        obs, reward, *_ = super().step(action)
        return obs, reward, False, False, {}


class LimitAsTermination(Sound):
    def step(self, action: Any) -> Stepped:
        obs, reward, *_ = super().step(action)
        return obs, reward, self.count == 20, False, {}


class NumberAsFlag(Sound):
    def step(self, action: Any) -> Stepped:
        obs, reward, terminated, *_ = super().step(action)
        return obs, reward, int(terminated), False, {}


class Mutating(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.buffer = np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        self.buffer[:], info = super().reset(seed=seed)
        return self.buffer, info

    def step(self, action: Any) -> Stepped:
        self.buffer[:], *rest = super().step(action)
        return (self.buffer, *rest)  # pyright: ignore[reportReturnType]


class SharedBuffer(Mutating):
    """All copies write to one array."""

    everyones = np.zeros(2, np.float32)

    def __init__(self) -> None:
        super().__init__()
        self.buffer = self.everyones


class SharedState(Stateless):
    """The steps of all copies are counted together."""

    everyones: list[int] = []  # noqa: RUF012

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        self.everyones.clear()
        return super().reset(seed=seed)

    def step(self, action: Any) -> Stepped:
        self.everyones.append(1)
        obs, _, *rest = super().step(action)
        return (obs, float(len(self.everyones)), *rest)  # pyright: ignore[reportReturnType]


class Raising(Sound):
    def step(self, action: Any) -> Stepped:
        if self.count == 3:
            raise ValueError("the reactor is on fire")
        return super().step(action)


class Hanging(Sound):
    def step(self, action: Any) -> Stepped:
        time.sleep(3600)
        return super().step(action)


class Crashing(Sound):
    def step(self, action: Any) -> Stepped:
        os._exit(7)


class Unmakeable(Sound):
    def __init__(self) -> None:
        super().__init__()
        raise OSError("no such level")


class Slow(Sound):
    steps = 0

    def step(self, action: Any) -> Stepped:
        # once in a process
        Slow.steps += 1
        if Slow.steps == 5:
            time.sleep(1.01)
        return super().step(action)


class Sluggish(Sound):
    def step(self, action: Any) -> Stepped:
        time.sleep(2.2)
        return super().step(action)


class Leaking(Sound):
    kept: list[bytes] = []  # noqa: RUF012

    def step(self, action: Any) -> Stepped:
        self.kept.append(b"x" * 50_000)
        return super().step(action)


class Forgetful(Sound):
    def set_state(self, state: Info) -> None:
        """Lose everything."""


class SameStep(gym.vector.VectorEnv[Any, Any, Any]):
    """Two walks that reset in the step that ends them, whatever the metadata say."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: Info | None = None
    ) -> tuple[Any, Info]:
        self.count = 0
        return np.zeros((self.num_envs, 2), np.float32), {}

    def step(self, actions: Any) -> Stepped:
        self.count += 1
        terminated = np.full(self.num_envs, self.count % (5 + self.count % 2) == 0)
        obs = np.full((self.num_envs, 2), self.count, np.float32)
        return obs, np.ones(self.num_envs), terminated, np.zeros(self.num_envs, bool), {}


def locked() -> Callable[..., Sound]:
    """Return a way to make an env that no other process can be given."""
    lock = threading.Lock()

    def make(**_: Any) -> Sound:
        with lock:
            return Sound()

    return make


def normalized(**_: Any) -> gym.Env[Any, Any]:
    """Return a sound env in a wrapper with running statistics."""
    return NormalizeObservation(Sound())


FAULTY = (
    *(Sound, NanObs, InfiniteReward, TextReward, WrongDtype, WrongShape, OutOfSpace),
    *(OutOfCategories, Unseeded, Endless, LimitAsTermination, NumberAsFlag, Mutating, Raising),
    *(SharedBuffer, SharedState, RewardInArray, FlagInList, Sluggish),
    *(Hanging, Crashing, Unmakeable, Slow, Leaking, Forgetful, Stateless),
)


def register() -> None:
    """Make the ids known, as a user's module does when it is imported."""
    for kind in FAULTY:
        gym.register(f"{kind.__name__}-v0", f"tests.faulty:{kind.__name__}")
    gym.register("Unpicklable-v0", locked())
    gym.register("Normalized-v0", normalized)
    gym.register("SameStep-v0", vector_entry_point="tests.faulty:SameStep")


register()
