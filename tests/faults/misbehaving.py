"""An environment that is wrong in one way from its first steps on, or of one odd space."""

import threading
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from tests.environments import Info

PLAIN = spaces.Box(-1, 1, (2,), np.float32)
TWO = spaces.Discrete(2)
SPACES: dict[str, gym.Space[Any] | None] = {
    "plain": PLAIN,
    "two": TWO,
    "one": spaces.Discrete(1),
    "from -5": spaces.Discrete(3, start=-5),
    "binary": spaces.MultiBinary(3),
    "binary matrix": spaces.MultiBinary((2, 2)),
    "multi": spaces.MultiDiscrete([2, 3]),
    "multi matrix": spaces.MultiDiscrete(np.array([[2, 3], [1, 1]])),
    "unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "bounded below": spaces.Box(0, np.inf, (2,), np.float32),
    "constant": spaces.Box(1, 1, (2,), np.float32),
    "asymmetric": spaces.Box(np.array([-0.1, 0.2], "f"), np.array([0.0, 9.0], "f")),
    "float16": spaces.Box(-1, 1, (2,), np.float16),
    "float64": spaces.Box(-1, 1, (2,), np.float64),
    "scalar": spaces.Box(-1, 1, (), np.float32),
    "int": spaces.Box(0, 5, (2,), np.int64),
    "bool": spaces.Box(0, 1, (2,), np.bool_),  # pyright: ignore
    "bytes": spaces.Box(0, 255, (2,), np.uint8),
    "image": spaces.Box(0, 255, (8, 8, 3), np.uint8),
    "pixel": spaces.Box(0, 255, (1, 1, 3), np.uint8),
    "video": spaces.Box(0, 255, (2, 4, 4, 3), np.uint8),
    "dict": spaces.Dict({"a": PLAIN, "b": TWO}),
    "tuple": spaces.Tuple((PLAIN, TWO)),
    "nothing": spaces.Box(-1, 1, (0,), np.float32),
    "no image": spaces.Box(0, 255, (0, 4), np.uint8),
    "empty dict": spaces.Dict({}),
    "empty tuple": spaces.Tuple(()),
    "dict of text": spaces.Dict({"a": PLAIN, "b": spaces.Text(3)}),
    "text": spaces.Text(4),
    "graph": spaces.Graph(PLAIN, TWO),
    "sequence": spaces.Sequence(PLAIN),
    "one of": spaces.OneOf((PLAIN, TWO)),
    "none": None,
}
OBS_REFUSED = {
    *("nothing", "no image", "empty dict", "empty tuple", "dict of text", "none"),
    *("text", "graph", "sequence", "one of"),
}
ACTIONS_REFUSED = OBS_REFUSED | {"int", "bool", "bytes", "image", "pixel", "video", "dict", "tuple"}
RETURNED: dict[str, dict[str, Any]] = {
    "obs of another shape": {"obs": np.ones(5, np.float32)},
    "obs None": {"obs": None},
    "obs text": {"obs": "north"},
    "obs dict": {"obs": {"a": 1}},
    "reward text": {"reward": "much"},
    "reward None": {"reward": None},
    "reward array": {"reward": np.ones(1)},
    "reward two": {"reward": np.ones(2)},
    "terminated text": {"terminated": "no"},
    "truncated None": {"truncated": None},
    "info None": {"info": None},
    "info list": {"info": [1]},
    "reward float16": {"reward": np.float16(1)},
    "reward int": {"reward": 1},
    "terminated numpy": {"terminated": np.bool_(True)},
    "terminated int": {"terminated": 1},
    "both ends": {"terminated": True, "truncated": True},
}
"""What its step returns instead of what it should."""
STATES: dict[str, Any] = {
    "state object": {"far": object()},
    "state set": {"far": {1, 2}},
    "state bytes": {"far": b"ab"},
    "state array of objects": {"far": np.array([object()])},
    "state array of text": {"far": np.array("x")},
    "state complex": {"far": np.zeros(2, np.complex128)},
    "state key": {3: 4},
}


class Odd(gym.Env[Any, Any]):
    """Observes samples of its space and pays 1; five steps an episode."""

    def __init__(self, fault: str = "", obs: str = "plain", action: str = "two") -> None:
        self.observation_space: Any = SPACES[obs]
        self.action_space: Any = SPACES[action]
        self.fault, self.count = fault, 0
        if fault == "raises when made":
            raise RuntimeError("no licence\nfor this")
        if fault == "exits when made":
            raise SystemExit(7)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        if self.fault == "raises in reset":
            raise RuntimeError("no licence")
        if self.fault == "reset without info":
            return self.observation_space.sample()
        if self.fault == "category out of range":
            return 7, {}
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.count += 1
        if self.fault == "raises in step":
            raise RuntimeError("no licence")
        if self.fault == "hangs":
            time.sleep(3600)
        if self.fault == "closes itself":
            self.close()
        values = {
            "obs": self.observation_space.sample(),
            "reward": 1.0,
            "terminated": self.count == 5,
            "truncated": False,
            "info": {},
        }
        found = tuple((values | RETURNED.get(self.fault, {})).values())
        return found[:4] if self.fault == "returns four" else found


class OddState(Odd):
    """Tells a state that no file keeps."""

    def get_state(self) -> Any:
        if self.fault == "state raises":
            raise RuntimeError("no licence")
        return STATES[self.fault]

    def set_state(self, state: Any) -> None:
        """Take nothing."""


class NoSeed(Odd):
    """Cannot be seeded."""

    def reset(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.observation_space.sample(), {}


class NoEnv:
    """Is no environment."""


class Locked:
    """Makes an environment, and cannot be sent to another process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, **kwargs: Any) -> Odd:
        return Odd(**kwargs)


def register() -> None:
    """Make the ids known."""
    makers: dict[str, Any] = {"Odd": Odd, "OddState": OddState, "NoSeed": NoSeed, "NoEnv": NoEnv}
    for name, maker in (makers | {"Locked": Locked()}).items():
        if f"{name}-v0" not in gym.registry:
            gym.register(f"{name}-v0", maker)


register()
