"""Contain the exceptions of an environment: each costs one episode and nothing else."""

import asyncio
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np

from distpg.errors import LateError, RunError
from distpg.signals import deadline
from distpg.user_code import format_user_error

CLOSE_S = 10.0
"""Seconds that an environment has for closing, unless `--close-timeout` says otherwise."""
RAISED = (Exception, asyncio.CancelledError, GeneratorExit)
"""What an environment may raise, at the cost of an episode."""
API = {
    "reset()": ("observation", "info"),
    "step()": ("observation", "reward", "terminated", "truncated", "info"),
}
"""What the methods of an environment return."""
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
        self.info: Mapping[str, Any] = {}
        """Of the last reset or step; empty if that returned no mapping."""
        self.attributes: dict[str, Any] = {}
        """What was set in the environment."""

    def reset(self, seed: int | None = None) -> Returned:
        """Reset; if that raises, replace the environment and return the fault.

        Raises:
            Exception: what the last of `ATTEMPTS` replacements raised.
            RunError: the environment called sys.exit, or returned another number of values.
        """
        if seed is not None:
            self.seeds = np.random.default_rng(seed)
        try:
            return Returned(self._reset(seed), 0.0, False, False)
        except RunError:
            raise
        except RAISED as error:
            obs, fault = self._replace_env(error)
            return Returned(obs, 0.0, False, False, fault)

    def step(self, action: Any) -> Returned:
        """Step; if that raises, return no observation but the fault, truncated.

        Raises:
            RunError: the environment called sys.exit, or returned another number of values.
        """
        try:
            returned = self.env.step(action)
            obs, reward, terminated, truncated, info = unpack("step()", returned)
            if self.drop_bad:
                refuse_non_finite(obs, reward)
        except RunError:
            raise
        except SystemExit as error:
            raise exited(error) from error
        except RAISED as error:
            _, fault = self._replace_env(error)
            return Returned(None, 0.0, False, True, fault)
        self.info = info if isinstance(info, Mapping) else {}
        return Returned(obs, reward, terminated, truncated)

    def set_attributes(self, values: Mapping[str, Any]) -> None:
        """Set attributes of the environment, and of those that replace it.

        Raises:
            RunError: it has no such attribute, or setting it raised.
        """
        changes = {
            name: value
            for name, value in values.items()
            if name not in self.attributes or self.attributes[name] != value
        }
        self.attributes |= changes
        self._set(changes)

    def _set(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            try:
                # of its own, which it may change
                known = self.env.set_wrapper_attr(name, copy.deepcopy(value), force=False)
            except RAISED as error:
                raise RunError(
                    f"a watcher set {name} of the environment to {value!r:.60}: "
                    f"{format_user_error(error)}"
                ) from error
            if not known:
                raise RunError(f"a watcher set {name}, which the environment does not have")

    def close(self) -> bool:
        """Close the environment, as `close_in_time` does."""
        return close_in_time(self.env, self.close_s)

    def _reset(self, seed: int | None) -> Any:
        try:
            obs, info = unpack("reset()", self.env.reset(seed=seed))
        except SystemExit as error:
            raise exited(error) from error
        self.info = info if isinstance(info, Mapping) else {}
        if self.drop_bad:
            refuse_non_finite(obs, 0.0)
        return obs

    def _replace_env(self, error: BaseException) -> tuple[Any, str]:
        """Return the first observation of another environment, and what the last one raised."""
        in_time = self.close()
        fault = format_user_error(error)
        if not in_time:
            fault += f" (and it did not close within --close-timeout {self.close_s:g} s)"
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                self.env = self.make()
                self._set(self.attributes)
                return self._reset(int(self.seeds.integers(2**31))), fault
            except RunError:
                raise
            except RAISED:
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
    except (*RAISED, SystemExit):
        return True
    return True


def unpack(method: str, returned: Any) -> tuple[Any, ...]:
    """Return what a method of an environment returned, if that is what Gymnasium's API says.

    Raises:
        RunError: it is another number of values.
    """
    names = API[method]
    if not isinstance(returned, tuple | list) or len(returned) != len(names):
        is_tuple = isinstance(returned, tuple | list)
        found = f"{len(returned)} values" if is_tuple else f"{returned!r:.60}"
        raise RunError(
            f"{method} returned {found}; Gymnasium's API has {len(names)}: {', '.join(names)}"
        )
    return tuple(returned)


def exited(error: SystemExit) -> RunError:
    """Return the error for an environment that called sys.exit."""
    return RunError(f"the environment called sys.exit({error.code!r})")


def refuse_non_finite(obs: Any, rewards: Any) -> None:
    """Raise on NaN or inf.

    Raises:
        ValueError: a reward or the observation is not finite.
    """
    for name, value in (("reward", rewards), ("observation", obs)):
        for number in non_finite(value):
            raise ValueError(f"the {name} has a value that is not finite: {number:g}")


def non_finite(value: Any) -> Iterator[float]:
    """Yield the numbers in nested dicts and tuples that are NaN or infinite."""
    if isinstance(value, Mapping):
        yield from non_finite(tuple(cast("Mapping[str, Any]", value).values()))
    elif isinstance(value, tuple):
        for part in cast("tuple[Any, ...]", value):
            yield from non_finite(part)
    else:
        array = np.asarray(value)
        if array.dtype.kind == "f":
            yield from array[~np.isfinite(array)].tolist()
