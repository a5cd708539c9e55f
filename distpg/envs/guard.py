"""An environment that raises is made anew, and only the episode under way is lost."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

FAULT = "fault"
"""Key of a step's info: the exception, in a line."""
ATTEMPTS = 3
"""How often a reset is tried, each time by a new environment."""


class Guard(gym.Wrapper[Any, Any, Any, Any]):
    """Ends the episode where `step` raises; the next reset is that of a new environment.

    New ones are seeded from the last seed that was given, so that the same fault gives the same
    run.
    """

    def __init__(self, make: Callable[[], gym.Env[Any, Any]]) -> None:
        """Make the first environment, whose constructor may raise."""
        super().__init__(make())
        self.make = make
        self.seeds = np.random.default_rng(0)
        self.renewed = False
        self.last: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset, by a new environment where the old one raises.

        Raises:
            Exception: what the last of several environments raised.
        """
        if seed is not None:
            self.seeds = np.random.default_rng(seed)
        for left in reversed(range(ATTEMPTS)):
            if self.renewed:
                seed, self.renewed = int(self.seeds.integers(2**31)), False
            try:
                self.last, info = self.env.reset(seed=seed, options=options)
            except Exception:
                if not left:
                    raise
                self._renew()
            else:
                return self.last, info
        raise AssertionError("the last attempt returns or raises")

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step; where that raises, stand still and end the episode, with the fault in the info."""
        try:
            self.last, reward, terminated, truncated, info = self.env.step(action)
        except Exception as error:
            self._renew()
            text = " ".join(str(error).split())
            return self.last, 0.0, False, True, {FAULT: f"{type(error).__name__}: {text}"}
        return self.last, reward, terminated, truncated, info

    def _renew(self) -> None:
        self.env, self.renewed = self.make(), True
