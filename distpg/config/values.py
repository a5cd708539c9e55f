"""Validation of values against type annotations, and the wording of its error messages."""

import dataclasses
import difflib
import math
import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from distpg.errors import InputError

Kind = TypeVar("Kind")
TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "none",
    Callable: "a class or function",
}


@dataclass(frozen=True)
class Range:
    """A range of finite numbers, [low, high]; `open_low` and `open_high` exclude an end itself."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        if self.open_high:
            return f"at least {self.low} and less than {self.high}"
        if self.high < math.inf:
            return f"between {self.low} and {self.high}"
        if self.low == -math.inf:
            return "a finite number"
        return f"a finite number {'greater than' if self.open_low else 'at least'} {self.low}"


@dataclass(frozen=True)
class Pattern:
    """Texts that match a regular expression, which `words` describe."""

    expression: str
    words: str

    def __contains__(self, value: str) -> bool:
        return re.fullmatch(self.expression, value) is not None

    def __str__(self) -> str:
        return self.words


def flag(name: str) -> str:
    """Return the command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def one_of(names: typing.Iterable[str]) -> str:
    """Return names as a list for a message."""
    return ", ".join(names)


def did_you_mean(name: str, names: typing.Iterable[str]) -> str:
    """Return a suggestion of similar names, to append to a message; empty if there is none."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def is_numeric(hint: Any) -> bool:
    """Return whether all values of an annotation are numbers, or none."""
    if typing.get_origin(hint) is Annotated:
        return is_numeric(typing.get_args(hint)[0])
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return all(is_numeric(part) for part in typing.get_args(hint))
    return hint in (int, float, types.NoneType)


def check_value(name: str, value: object, hint: Any) -> None:
    """Check a setting against its annotation.

    Raises:
        InputError: it does not match; the message names the flag, the value and what is allowed.
    """
    allowed = describe_mismatch(value, hint)
    if allowed:
        raise InputError(f"{flag(name)}: {value!r} is not {allowed}")


def check_fields(kind: type, fields: Mapping[str, object]) -> None:
    """Check values read from a file against the annotations of a dataclass.

    Raises:
        InputError: one does not match; the message names the field.
    """
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        allowed = describe_mismatch(fields[name], hint) if name in fields else ""
        if allowed:
            raise InputError(f"{name}: {fields[name]!r} is not {allowed}")


def describe_mismatch(value: object, hint: Any) -> str:
    """Return what a value should be, or an empty string if it matches the annotation."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        kind, limits = options
        return describe_mismatch(value, kind) or ("" if value in limits else str(limits))
    if origin is types.UnionType or origin is typing.Union:
        mismatches = [describe_mismatch(value, option) for option in options]
        return "" if "" in mismatches else " or ".join(mismatches)
    if origin is Literal:
        allowed = one_of(options) if len(options) == 1 else f"one of {one_of(options)}"
        return "" if value in options else allowed
    if origin is tuple:
        kind = "numbers" if is_numeric(options[0]) else "names"
        if not isinstance(value, tuple):
            return f"a list of {kind}"
        items = typing.cast("tuple[object, ...]", value)
        if options[-1] is not Ellipsis and len(items) != len(options):
            return f"a list of {len(options)} {kind}"
        mismatches = (describe_mismatch(item, options[0]) for item in items)
        return next((f"a list of {kind}, each {allowed}" for allowed in mismatches if allowed), "")
    hint = origin or hint
    kind = int | float if hint is float else hint
    # bool is a subclass of int
    matches = isinstance(value, kind) and (hint is bool or not isinstance(value, bool))
    return "" if matches else TYPE_NAMES.get(hint, "a table")


def is_toml(value: object, levels: int = 50) -> bool:
    """Return whether TOML can represent a value nested at most `levels` deep."""
    if isinstance(value, dict | list | tuple) and not levels:
        return False
    if isinstance(value, dict):
        table = typing.cast("dict[object, object]", value)
        return all(isinstance(key, str) and is_toml(x, levels - 1) for key, x in table.items())
    if isinstance(value, list | tuple):
        return all(is_toml(item, levels - 1) for item in typing.cast("list[object]", value))
    return isinstance(value, str | int | float | bool)


def make_from_toml(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Make a dataclass of TOML values, in which lists become tuples.

    Raises:
        InputError: a key is unknown, missing, or has a value that is not allowed.
    """
    known = {x.name: x for x in dataclasses.fields(typing.cast("Any", kind))}
    for key in values:
        if key not in known:
            raise InputError(f"{key}: no such key{did_you_mean(key, known)}")
    for key, x in known.items():
        optional = x.default_factory is not dataclasses.MISSING
        if key not in values and x.default is dataclasses.MISSING and not optional:
            raise InputError(f"{key} is missing")
    found = {
        key: tuple(typing.cast("list[Any]", value)) if isinstance(value, list) else value
        for key, value in values.items()
    }
    check_fields(kind, found)
    return kind(**found)


def check_new_file(path: Path, endings: Sequence[str]) -> None:
    """Check that a file can be written, before anything is computed for it.

    Raises:
        InputError: it has none of the endings, is a folder, or its folder does not exist or cannot
            be written.
    """
    if path.suffix not in endings:
        raise InputError(f"{str(path)!r} does not end in {' or '.join(endings)}")
    if path.is_dir():
        raise InputError(f"{path} is a folder")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the folder {path.parent} cannot be written")
