"""Contain the exceptions of an environment: each costs one episode and nothing else."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np

from distpg.errors import LateError, RunError, format_error
from distpg.signals import deadline

CLOSE_S = 10.0
"""Seconds that an environment has for closing, unless `--close-timeout` says otherwise."""
ATTEMPTS = 3
"""New environments to try before their exception propagates."""


class Returned(NamedTuple):
    """What a copy returned, as it is; of the info, nothing."""

    obs: Any
    """None if the step raised."""
    reward: Any
    terminated: Any
    truncated: Any
    fault: str = ""
    """What the step or the reset raised, if it did."""


class Guard:
    """One copy of an environment; truncates the episode when `step` raises, and replaces the copy.

    Replacements are seeded from the last seed passed to `reset`, so the same fault gives the same
    run. They are reset at once, since an environment has no state to save before its first reset.
    """

    def __init__(
        self,
        make: Callable[[], gym.Env[Any, Any]],
        *,
        drop_bad: bool = False,
        close_s: float = CLOSE_S,
    ) -> None:
        """Make the first environment; `drop_bad` treats NaN and inf as exceptions."""
        self.make = make
        self.drop_bad = drop_bad
        self.close_s = close_s
        self.env = make()
        self.seeds = np.random.default_rng(0)
        self.info: dict[str, Any] = {}
        """Of the last reset or step."""

    def reset(self, seed: int | None = None) -> Returned:
        """Reset; if that raises, replace the environment and return the fault.

        Raises:
            Exception: what the last of `ATTEMPTS` replacements raised.
            RunError: the environment called sys.exit, or its info is not a dict.
        """
        if seed is not None:
            self.seeds = np.random.default_rng(seed)
        try:
            return Returned(self._reset(seed), 0.0, False, False)
        except RunError:
            raise
        except Exception as error:
            obs, fault = self._replace_env(error)
            return Returned(obs, 0.0, False, False, fault)

    def step(self, action: Any) -> Returned:
        """Step; if that raises, return no observation but the fault, truncated.

        Raises:
            RunError: the environment called sys.exit, or its info is not a dict.
        """
        try:
            obs, reward, terminated, truncated, self.info = self.env.step(action)
            if self.drop_bad:
                refuse_non_finite(obs, reward)
        except SystemExit as error:
            raise exited(error) from error
        except Exception as error:
            _, fault = self._replace_env(error)
            return Returned(None, 0.0, False, True, fault)
        check_info("step()", self.info)
        return Returned(obs, reward, terminated, truncated)

    def close(self) -> bool:
        """Close the environment, as `close_in_time` does."""
        return close_in_time(self.env, self.close_s)

    def _reset(self, seed: int | None) -> Any:
        try:
            obs, self.info = self.env.reset(seed=seed)
        except SystemExit as error:
            raise exited(error) from error
        check_info("reset()", self.info)
        if self.drop_bad:
            refuse_non_finite(obs, 0.0)
        return obs

    def _replace_env(self, error: Exception) -> tuple[Any, str]:
        """Return the first observation of another environment, and what the last one raised."""
        in_time = self.close()
        fault = format_error(error)
        if not in_time:
            fault += f" (and it did not close within --close-timeout {self.close_s:g} s)"
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                self.env = self.make()
                return self._reset(int(self.seeds.integers(2**31))), fault
            except RunError:
                raise
            except Exception:
                if not attempts_left:
                    raise
                self.close()
        raise AssertionError("the last attempt returns or raises")


def close_in_time(env: gym.Env[Any, Any] | gym.vector.VectorEnv, timeout_s: float) -> bool:
    """Close an environment, ignoring what it raises; return False if it was interrupted."""
    try:
        with deadline(timeout_s):
            env.close()
    except LateError:
        return False
    except (Exception, SystemExit):
        return True
    return True


def check_info(method: str, info: Any) -> None:
    """Check that an info is a dict.

    Raises:
        RunError: it is not.
    """
    if not isinstance(info, dict):
        raise RunError(f"{method} returned info {info!r:.60}, which is not a dict")


def exited(error: SystemExit) -> RunError:
    """Return the error for an environment that called sys.exit."""
    return RunError(f"the environment called sys.exit({error.code!r})")


def refuse_non_finite(obs: Any, rewards: Any) -> None:
    """Raise on NaN or inf.

    Raises:
        ValueError: a reward or the observation is not finite.
    """
    if not is_finite(rewards):
        raise ValueError(f"the reward is {rewards}")
    if not is_finite(obs):
        raise ValueError("the observation is not finite")


def is_finite(value: Any) -> bool:
    """Return whether all numbers in nested dicts and tuples are finite."""
    if isinstance(value, Mapping):
        return all(map(is_finite, cast("Mapping[str, Any]", value).values()))
    if isinstance(value, tuple):
        return all(map(is_finite, cast("tuple[Any, ...]", value)))
    array = np.asarray(value)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
