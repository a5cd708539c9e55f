"""Environments that hide what an action needs, for policies that remember.

Under `benchmarks.partially_observed:`, Cue-v0 shows an arm, lets time pass, and pays for pulling
it; MaskedCue-v0 shows an order of arms, lets time pass, and pays for the first of them among those
that its mask then allows.
"""

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ARMS, DELAY = 3, 8
Info = dict[str, Any]


class Cue(gym.Env[Any, Any]):
    """Shows an arm in the first observation alone; after `DELAY` steps, pays 1 for pulling it."""

    def __init__(self) -> None:
        """Describe what is seen: the arm at first, then nothing, and whether to pull now."""
        self.observation_space = spaces.Box(0, 1, (ARMS + 1,), np.float32)
        self.action_space = spaces.Discrete(ARMS)
        self.cue, self.time = 0, 0

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        """Draw an arm."""
        super().reset(seed=seed)
        self.cue, self.time = int(self.np_random.integers(ARMS)), 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Info]:
        """Let time pass, or pull."""
        pulled = self.time == DELAY
        self.time += 1
        return self.observe(), float(pulled and action == self.cue), pulled, False, {}

    def observe(self) -> Any:
        """Return what is seen now."""
        seen = np.zeros(ARMS + 1, np.float32)
        seen[self.cue] = self.time == 0
        seen[ARMS] = self.time == DELAY
        return seen

    def get_state(self) -> Info:
        """Return the cue and the time."""
        return {"cue": self.cue, "time": self.time}

    def set_state(self, state: Info) -> None:
        """Take them back."""
        self.cue, self.time = state["cue"], state["time"]


class MaskedCue(gym.Env[Any, Any]):
    """Shows an order of arms; after `DELAY` steps, pays 1 for the first that is then allowed.

    The mask is in the info. Until the end only waiting is allowed; then some of the arms are, two
    of them or all. What is not allowed raises.
    """

    def __init__(self) -> None:
        """Describe what is seen: the order at first, as the number of a permutation."""
        self.observation_space = spaces.Box(0, 1, (math.factorial(ARMS),), np.float32)
        self.action_space = spaces.Discrete(ARMS + 1)
        self.order = list(range(ARMS))
        self.mask = np.zeros(ARMS + 1, np.int8)
        self.time = 0

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        """Draw an order, and the arm that will be missing, or none."""
        super().reset(seed=seed)
        self.order = self.np_random.permutation(ARMS).tolist()
        self.time = 0
        self.mask = np.array([0] * ARMS + [1], np.int8)
        return self.observe(), {"action_mask": self.mask}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Info]:
        """Wait or pull.

        Raises:
            ValueError: that is not allowed now.
        """
        if not self.mask[action]:
            raise ValueError(f"action {action} is not allowed by {self.mask}")
        pulled = self.time == DELAY
        best = next(arm for arm in self.order if not pulled or self.mask[arm])
        self.time += 1
        if self.time == DELAY:
            self.mask = np.array([1] * ARMS + [0], np.int8)
            missing = int(self.np_random.integers(ARMS + 1))
            if missing < ARMS:
                self.mask[missing] = 0
        reward = float(pulled and action == best)
        return self.observe(), reward, pulled, False, {"action_mask": self.mask}

    def observe(self) -> Any:
        """Return the order at first, then nothing."""
        seen = np.zeros(math.factorial(ARMS), np.float32)
        if self.time == 0:
            first, second, _ = self.order
            seen[2 * first + (second > min(set(range(ARMS)) - {first}))] = 1
        return seen

    def get_state(self) -> Info:
        """Return the order, the mask and the time."""
        return {"order": self.order, "mask": self.mask, "time": self.time}

    def set_state(self, state: Info) -> None:
        """Take them back."""
        self.order, self.mask, self.time = state["order"], state["mask"], state["time"]


for name in ("Cue", "MaskedCue"):
    gym.register(f"{name}-v0", f"{__name__}:{name}")
