"""Contain the exceptions of an environment: each costs one episode and nothing else."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

import gymnasium as gym
import numpy as np

from distpg.errors import format_error

FAULT = "distpg_fault"
"""Key of the info that holds the description of an exception."""
ATTEMPTS = 3
"""New environments to try before their exception propagates."""


class Guard(gym.Wrapper[Any, Any, Any, Any]):
    """Truncates the episode when `step` raises, and replaces the environment.

    Replacements are seeded from the last seed passed to `reset`, so the same fault gives the same
    run. They are reset at once, since an environment has no state to save before its first reset.
    """

    def __init__(self, make: Callable[[], gym.Env[Any, Any]], *, drop_bad: bool = False) -> None:
        """Make the first environment; `drop_bad` treats NaN and inf as exceptions."""
        super().__init__(make())
        self.make = make
        self.drop_bad = drop_bad
        self.seeds = np.random.default_rng(0)
        self.last_obs: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset; if that raises, replace the environment and put the fault into the info.

        Raises:
            Exception: what the last of `ATTEMPTS` replacements raised.
        """
        if seed is not None:
            self.seeds = np.random.default_rng(seed)
        try:
            self.last_obs, info = self._reset(seed, options)
        except Exception as error:
            self.last_obs, info = self._replace_env(options)
            info = {**info, FAULT: format_error(error)}
        return self.last_obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step; if that raises, return the last observation again, truncated, with the fault."""
        try:
            obs, reward, terminated, truncated, info = self.env.step(action)
            reward = float(reward)
            if self.drop_bad:
                refuse_non_finite(obs, reward)
        except Exception as error:
            self._replace_env()
            return self.last_obs, 0.0, False, True, {FAULT: format_error(error)}
        self.last_obs = obs
        return obs, reward, terminated, truncated, info

    def _reset(
        self, seed: int | None, options: dict[str, Any] | None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        if self.drop_bad:
            refuse_non_finite(obs, 0.0)
        return obs, info

    def close(self) -> None:
        """Close the environment, ignoring errors."""
        with suppress(Exception):
            self.env.close()

    def _replace_env(self, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        for attempts_left in reversed(range(ATTEMPTS)):
            self.close()
            try:
                self.env = self.make()
                return self._reset(int(self.seeds.integers(2**31)), options)
            except Exception:
                if not attempts_left:
                    raise
        raise AssertionError("the last attempt returns or raises")


def refuse_non_finite(obs: Any, rewards: Any) -> None:
    """Raise on NaN or inf.

    Raises:
        ValueError: a reward or the observation is not finite.
    """
    if not np.isfinite(rewards).all():
        raise ValueError(f"the reward is {rewards}")
    if not is_finite(obs):
        raise ValueError("the observation is not finite")


def is_finite(obs: Any) -> bool:
    """Return whether all numbers in nested dicts and tuples are finite."""
    if isinstance(obs, Mapping):
        return all(map(is_finite, cast("Mapping[str, Any]", obs).values()))
    if isinstance(obs, tuple):
        return all(map(is_finite, cast("tuple[Any, ...]", obs)))
    if isinstance(obs, np.ndarray) and obs.dtype.kind == "f":
        return bool(np.isfinite(obs).all())
    return not isinstance(obs, float) or math.isfinite(obs)
