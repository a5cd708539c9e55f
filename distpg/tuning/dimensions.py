"""What is searched for one setting: a range of numbers, or a list of values."""

import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

from distpg.config.config import check_setting, from_toml, hints
from distpg.config.files import spell
from distpg.config.settings import Finite
from distpg.config.values import describe_mismatch, did_you_mean, make_from_toml
from distpg.errors import InputError

FIXED = ("env_id", "total_steps", "num_workers", "address", "eval_every", "video_every")
"""Settings that all trials have in common: they say how runs are compared, or where they run."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """A range as it is written in TOML."""

    low: Finite
    high: Finite
    log: bool = False
    """Whether the logarithm is what is uniform, not the value."""


@dataclass(frozen=True)
class Interval:
    """A setting between two numbers, both included."""

    name: str
    limits: Limits
    is_whole: bool
    """Whether it is a whole number."""

    @property
    def ends(self) -> tuple[Any, Any]:
        """The lowest and the highest value."""
        return self.limits.low, self.limits.high

    def __str__(self) -> str:
        scale = ", logarithmic" if self.limits.log else ""
        return f"{self.limits.low} to {self.limits.high}{scale}"


@dataclass(frozen=True)
class Choice:
    """A setting with one of several values."""

    name: str
    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, Any]:
        """The first and the last value."""
        return self.values[0], self.values[-1]

    @property
    def spelled(self) -> list[str]:
        """The values as TOML spells them."""
        return [spell(value) for value in self.values]

    def __str__(self) -> str:
        return f"one of {', '.join(self.spelled)}"


Dimension = Interval | Choice


def dimension_of(name: str, written: Any) -> Dimension:
    """Return what is searched for a setting.

    Args:
        name: The setting.
        written: A table with low, high and log, or a list of values, as in TOML.

    Raises:
        InputError: the setting cannot be searched, or a value is not allowed.
    """
    if name not in hints():
        raise InputError(f"no such setting{did_you_mean(name, hints())}")
    if name == "seed":
        raise InputError("a trial is trained with each of `seeds`; it is not searched")
    if name in FIXED:
        raise InputError("it is the same in all trials; write it under [settings]")
    if isinstance(written, dict):
        return interval_of(name, make_from_toml(Limits, cast("dict[str, Any]", written)))
    if isinstance(written, list):
        return choice_of(name, cast("list[Any]", written))
    raise InputError(
        f"{spell(written)} is neither a range, {{ low = ..., high = ... }}, nor a list of values"
    )


def interval_of(name: str, limits: Limits) -> Interval:
    """Return a range, whose ends the setting may have.

    Raises:
        InputError: it is no range, or the setting may not have its ends.
    """
    hint = hints()[name]
    kind = number_kind(hint)
    if kind is None:
        raise InputError("it is not a number; write the list of its values")
    for end, value in (("low", limits.low), ("high", limits.high)):
        if allowed := describe_mismatch(value, hint):
            raise InputError(f"{end}: {value!r} is not {allowed}")
    if limits.low >= limits.high:
        raise InputError(f"low: {limits.low} is not less than high: {limits.high}")
    if limits.log and limits.low <= 0:
        raise InputError(f"low: {limits.low} has no logarithm; omit log, or begin above 0")
    return Interval(name, limits, is_whole=kind is int)


def choice_of(name: str, written: Sequence[Any]) -> Choice:
    """Return a list of values, each of which the setting may have.

    Raises:
        InputError: there is nothing to choose from, or the setting may not have a value.
    """
    choice = Choice(name, tuple(from_toml({name: value})[name] for value in written))
    for value, spelled in zip(choice.values, choice.spelled, strict=True):
        if allowed := describe_mismatch(value, hints()[name]):
            raise InputError(f"{spelled} is not {allowed}")
        check_setting(name, value)
    if len(set(choice.spelled)) < max(2, len(written)):
        raise InputError(f"[{', '.join(choice.spelled)}] are not two or more different values")
    return choice


def number_kind(hint: Any) -> type | None:
    """Return float or int if an annotation allows such numbers, else None."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return number_kind(options[0])
    if origin in (types.UnionType, typing.Union):
        kinds = {number_kind(option) for option in options}
        return next((kind for kind in (float, int) if kind in kinds), None)
    return hint if hint in (float, int) else None
