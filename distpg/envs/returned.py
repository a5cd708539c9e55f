"""Read what an environment returned: rewards and flags of any type that is one number or bool."""

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from distpg.errors import EnvError

LARGEST = float(np.finfo(np.float32).max)
"""The largest reward."""


def to_reward(value: Any, env: int) -> float:
    """Return the number that a reward is, also in an array of one entry, or as a decimal.

    Raises:
        EnvError: it is not one real number, or float32 cannot represent it.
    """
    # the usual type; np.float64 is a float
    if isinstance(value, float) and abs(value) <= LARGEST:
        return float(value)
    try:
        array = np.asarray(float(value) if isinstance(value, Decimal | Fraction) else value)
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise EnvError(f"the reward is {value!r:.60}: {error}", env) from error
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise EnvError(f"the reward is {value!r:.60}, which is not a number", env)
    number = float(array.item())
    if LARGEST < abs(number) < math.inf:
        raise EnvError(f"the reward is {number:g}, which is too large for float32", env)
    return number


def to_number(value: Any, what: str, env: int) -> float:
    """Return the number that a value is, also in an array of one entry.

    Raises:
        EnvError: it is not one real number, or not finite.
    """
    try:
        array = np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise EnvError(f"{what} is {value!r:.60}: {error}", env) from error
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise EnvError(f"{what} is {value!r:.60}, which is not a number", env)
    if not math.isfinite(array.item()):
        raise EnvError(f"{what} is {array.item():g}, which is not finite", env)
    return float(array.item())


def to_flag(value: Any, name: str, env: int) -> bool:
    """Return the bool that a flag is, also as an integer, or in an array of one entry.

    Raises:
        EnvError: it is neither true nor false.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biu":
        raise EnvError(f"{name} is {value!r:.60}, which is not a bool", env)
    return bool(array.item())


def rewards_of(values: Any, num_envs: int) -> np.ndarray:
    """Read the rewards of N copies that step together, [N] float32.

    Raises:
        EnvError: one is not a number that float32 can represent.
    """
    array = np.asarray(values) if isinstance(values, np.ndarray) else None
    if array is not None and array.shape == (num_envs,) and array.dtype.kind in "biuf":
        too_large = np.isfinite(array) & (np.abs(array) > LARGEST)
        if not too_large.any():
            return array.astype(np.float32)
    return np.array(_each(values, "rewards", num_envs, to_reward), np.float32)


def flags_of(values: Any, name: str, num_envs: int) -> np.ndarray:
    """Read a flag of N copies that step together, [N] bool.

    Raises:
        EnvError: one is neither true nor false.
    """
    if isinstance(values, np.ndarray) and values.shape == (num_envs,) and values.dtype == bool:
        return values.copy()
    return np.array(_each(values, name, num_envs, lambda value, env: to_flag(value, name, env)))


def _each(values: Any, name: str, num_envs: int, read: Callable[[Any, int], Any]) -> list[Any]:
    try:
        parts = list(values)
    except TypeError:
        parts = []
    if len(parts) != num_envs:
        raise EnvError(f"{name} is {values!r:.60}, which has not one entry for each copy", 0)
    return [read(value, env) for env, value in enumerate(parts)]
