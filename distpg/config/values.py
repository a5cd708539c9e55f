"""What a setting's value may be, read off its annotation, and how a refusal is worded."""

import difflib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from distpg.errors import InputError


@dataclass(frozen=True)
class Range:
    """The values that a number may take; `open_low` leaves `low` itself out."""

    low: float
    high: float = math.inf
    open_low: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return above and value <= self.high and math.isfinite(value)

    def __str__(self) -> str:
        low = f"greater than {self.low}" if self.open_low else f"at least {self.low}"
        if self.high < math.inf:
            return f"{low} and at most {self.high}"
        return "a finite number" if self.low == -math.inf else f"a finite number {low}"


def flag(name: str) -> str:
    """Spell a setting as the command line does."""
    return "--" + name.replace("_", "-")


def one_of(names: typing.Iterable[str]) -> str:
    """List the allowed names in a message."""
    return ", ".join(names)


def did_you_mean(name: str, names: typing.Iterable[str]) -> str:
    """Suggest the names closest to a misspelt one, as the end of a message."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def check_value(name: str, value: object, hint: Any) -> None:
    """Refuse a value that does not fit its annotation.

    Raises:
        InputError: names the flag, the value and what is allowed.
    """
    problem = describe_mismatch(value, hint)
    if problem:
        raise InputError(f"{flag(name)}: {value!r} is not {problem}")


def check_fields(kind: type, fields: Mapping[str, object]) -> None:
    """Refuse values, read from a file, that do not fit the annotations of a dataclass.

    Raises:
        InputError: names the field.
    """
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        problem = describe_mismatch(fields[name], hint) if name in fields else ""
        if problem:
            raise InputError(f"{name}: {fields[name]!r} is not {problem}")


def describe_mismatch(value: object, hint: Any) -> str:
    """Say what a value should have been, or nothing where it fits its annotation."""
    if typing.get_origin(hint) is Annotated:
        kind, limits = typing.get_args(hint)
        return describe_mismatch(value, kind) or ("" if value in limits else str(limits))
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType or origin is typing.Union:
        problems = [describe_mismatch(value, option) for option in options]
        return "" if "" in problems else " or ".join(problems)
    if origin is Literal:
        return "" if value in options else "one of " + one_of(options)
    if origin is tuple:
        if not isinstance(value, tuple):
            return "a list of numbers"
        problems = [
            describe_mismatch(item, options[0]) for item in typing.cast("tuple[object, ...]", value)
        ]
        return next((f"a list of numbers, each {problem}" for problem in problems if problem), "")
    if hint is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    elif hint is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = isinstance(value, origin or hint)
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return "" if fits else names.get(hint, "none" if hint is type(None) else "a table")


def is_toml(value: object, levels: int = 50) -> bool:
    """Tell whether a TOML file can hold a value, within so many levels of tables and lists."""
    if isinstance(value, dict | list | tuple) and not levels:
        return False
    if isinstance(value, dict):
        table = typing.cast("dict[object, object]", value)
        return all(isinstance(key, str) and is_toml(x, levels - 1) for key, x in table.items())
    if isinstance(value, list | tuple):
        return all(is_toml(item, levels - 1) for item in typing.cast("list[object]", value))
    return isinstance(value, str | int | float | bool)
