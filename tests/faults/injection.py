"""Faults at an exact place: which env of which slot, at which of its steps; each fires once.

A marker file says that it fired, also to the process that takes the place of one that died of it.
"""

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
from gymnasium import spaces

from tests.environments import Info, Stepped

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Faulty(gym.Env[Any, Any]):
    """A walk of 20 steps on a line, with a fault at one step of one env of the run.

    Envs number themselves by the first seed that they are reset with, so `seed` chooses one.
    """

    def __init__(self, kind: str = "", at: int = -1, marker: str = "") -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.kind, self.at, self.marker = kind, at, Path(marker)
        self.place, self.count, self.steps = 0.0, 0, 0

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        self.place, self.count = float(self.np_random.normal()), 0
        return self._observe(), {}

    def step(self, action: Any) -> Stepped:
        self.count, self.steps = self.count + 1, self.steps + 1
        if self.due() and self.first():
            self.fail()
        self.place += float(2 * action - 1) + 0.1 * float(self.np_random.normal())
        return self._observe(), -abs(self.place), self.count == 20, False, {}

    def due(self) -> bool:
        """Tell whether this is the step."""
        return self.steps == self.at

    def first(self) -> bool:
        """Leave the marker, if nobody has yet, also in another process at the same time."""
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def fail(self) -> None:
        """Do what the kind says."""
        if self.kind in SIGNALS:
            os.kill(os.getpid(), SIGNALS[self.kind])
        elif self.kind == "hang":
            time.sleep(3600)
        elif self.kind == "hold the interpreter":
            ctypes.PyDLL(None).sleep(3600)
        elif self.kind == "kill all":
            kill_workers()
        elif self.kind == "raise":
            raise ValueError("the reactor is on fire")

    def _observe(self) -> Any:
        return np.array([self.place, self.count], np.float32)


class FaultyWithState(Faulty):
    """The same, and its state can be taken out and put back."""

    def get_state(self) -> dict[str, Any]:
        return {"place": self.place, "count": self.count, "steps": self.steps}

    def set_state(self, state: dict[str, Any]) -> None:
        self.place, self.count, self.steps = state["place"], state["count"], state["steps"]


class Slowly(FaultyWithState):
    """One whose steps take time, so that a run lasts as long on any machine."""

    def __init__(self, pause_s: float = 0.0) -> None:
        super().__init__()
        self.pause_s = pause_s

    def step(self, action: Any) -> Stepped:
        time.sleep(self.pause_s)
        return super().step(action)


class Strict(FaultyWithState):
    """One that forbids an action, another at each step, and raises where it is taken."""

    def action_masks(self) -> Any:
        allowed = np.ones(2, np.int8)
        if self.count % 3:
            allowed[self.count % 2] = 0
        return allowed

    def step(self, action: Any) -> Any:
        assert self.action_masks()[action], "this is not allowed"
        return super().step(action)


class OftenWithState(FaultyWithState):
    """Fails at each multiple of its step, once in all envs of the run together."""

    def due(self) -> bool:
        return self.steps % self.at == 0

    def first(self) -> bool:
        self.marker = self.marker.with_name(f"fired {self.steps}")
        return super().first()


def kill_workers() -> None:
    """Kill every worker process, this one last."""
    siblings = psutil.Process().parent()
    assert siblings is not None, "a worker has a parent"
    others = [one for one in siblings.children() if "RolloutActor" in " ".join(one.cmdline())]
    for one in sorted(others, key=lambda one: one.pid == os.getpid()):
        one.kill()


def fault(folder: Path, kind: str, at: int) -> dict[str, Any]:
    """Say which fault happens at which step of the first env that comes to it."""
    return {"kind": kind, "at": at, "marker": str(folder / "fired")}
