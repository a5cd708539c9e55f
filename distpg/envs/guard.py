"""An environment that raises costs its episode, and nothing else."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

import gymnasium as gym
import numpy as np

from distpg.errors import format_error

FAULT = "distpg_fault"
"""Key of the info in which a raised exception is told."""
ATTEMPTS = 3
"""How often a new environment is tried before what it raises is passed on."""


class Guard(gym.Wrapper[Any, Any, Any, Any]):
    """Ends the episode where `step` raises, and goes on with a new environment.

    New ones are seeded from the last seed that was given, so that the same fault gives the same
    run. They are reset at once: an environment that was not has no state to tell.
    """

    def __init__(self, make: Callable[[], gym.Env[Any, Any]], *, drop_bad: bool = False) -> None:
        """Make the first environment; `drop_bad` takes NaN and infinity for a fault, too."""
        super().__init__(make())
        self.make = make
        self.drop_bad = drop_bad
        self.seeds = np.random.default_rng(0)
        self.last: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset, by a new environment where the old one raises; its fault is in the info.

        Raises:
            Exception: what the last of several new environments raised.
        """
        if seed is not None:
            self.seeds = np.random.default_rng(seed)
        try:
            self.last, info = self._first(seed, options)
        except Exception as error:
            self.last, info = self._renew(options)
            info = {**info, FAULT: format_error(error)}
        return self.last, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step; where that raises, stand still and end the episode, with the fault in the info."""
        try:
            obs, reward, terminated, truncated, info = self.env.step(action)
            reward = float(reward)
            if self.drop_bad:
                check_finite(obs, reward)
        except Exception as error:
            self._renew()
            return self.last, 0.0, False, True, {FAULT: format_error(error)}
        self.last = obs
        return obs, reward, terminated, truncated, info

    def _first(
        self, seed: int | None, options: dict[str, Any] | None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        if self.drop_bad:
            check_finite(obs, 0.0)
        return obs, info

    def close(self) -> None:
        """Close the environment, whatever it makes of it."""
        with suppress(Exception):
            self.env.close()

    def _renew(self, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        for left in reversed(range(ATTEMPTS)):
            self.close()
            try:
                self.env = self.make()
                return self._first(int(self.seeds.integers(2**31)), options)
            except Exception:
                if not left:
                    raise
        raise AssertionError("the last attempt returns or raises")


def check_finite(obs: Any, rewards: Any) -> None:
    """Refuse NaN and infinity.

    Raises:
        ValueError: names the field.
    """
    if not np.isfinite(rewards).all():
        raise ValueError(f"the reward is {rewards}")
    if not is_finite(obs):
        raise ValueError("the observation is not finite")


def is_finite(obs: Any) -> bool:
    """Tell whether all numbers in nested dicts and tuples are."""
    if isinstance(obs, Mapping):
        return all(map(is_finite, cast("Mapping[str, Any]", obs).values()))
    if isinstance(obs, tuple):
        return all(map(is_finite, cast("tuple[Any, ...]", obs)))
    if isinstance(obs, np.ndarray) and obs.dtype.kind == "f":
        return bool(np.isfinite(obs).all())
    return not isinstance(obs, float) or math.isfinite(obs)
