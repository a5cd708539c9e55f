"""A number for each copy of an environment, for the port or file that only one copy can have.

An environment reads it from `current_copy()` while it is made, or from a placeholder in its keyword
arguments: `{copy}` is the number, `{copy+45871}` the sum. The copies of a run are numbered by slot,
then by place in the slot, whichever process they are in. Those of its evaluations come next, then
those of checks and of `evaluate` (`DerivedSettings.first_eval_copy`). A copy that replaces another
one has its number.
"""

import itertools
import re
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from distpg.errors import InputError

LIKE_ONE = re.compile(r"\{\s*copy\b[^{}]*\}", re.IGNORECASE)
PLACEHOLDER = re.compile(r"\{copy(?:\+(\d+))?\}")


@dataclass(frozen=True)
class Copy:
    """Which copy of an environment it is."""

    number: int
    """From 0; no other copy of the run that is open at the same time has it."""
    slot: int | None = None
    """The slot that it belongs to; None if it is not for training."""
    index: int = 0
    """Place among the copies that are stepped together, as in messages."""


_current: ContextVar[Copy | None] = ContextVar("copy", default=None)
_outside_runs = itertools.count()


def current_copy() -> Copy | None:
    """Return which copy of an environment is being made, or None if none is."""
    return _current.get()


@contextmanager
def making(copy: Copy) -> Generator[None]:
    """Context manager: `current_copy` returns this copy."""
    token = _current.set(copy)
    try:
        yield
    finally:
        _current.reset(token)


def number_copies(count: int, first: int | None = None, slot: int | None = None) -> list[Copy]:
    """Number copies that are stepped together.

    Args:
        count: How many.
        first: The number of the first; None for copies outside of a run, such as those of `doctor`,
            which are numbered in the order that this process makes them.
        slot: Their slot, if they are for training; then `first` follows from it.
    """
    if slot is not None:
        first = slot * count
    numbers = itertools.islice(_outside_runs, count) if first is None else itertools.count(first)
    return [Copy(number, slot, index) for index, number in zip(range(count), numbers, strict=False)]


def fill(value: Any, number: int) -> Any:
    """Replace the placeholders in a value, nested in dicts and lists, by a copy's number.

    A string that is nothing but a placeholder becomes an int.
    """
    if isinstance(value, str):
        if whole := PLACEHOLDER.fullmatch(value):
            return number + int(whole[1] or 0)
        filled = PLACEHOLDER.sub(lambda found: str(number + int(found[1] or 0)), value)
        if LIKE_ONE.search(filled):
            raise InputError(f"{value!r}: a placeholder is {{copy}} or {{copy+8000}}")
        return filled
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return {key: fill(part, number) for key, part in table.items()}
    if isinstance(value, list | tuple):
        parts = cast("list[Any] | tuple[Any, ...]", value)
        return type(parts)(fill(part, number) for part in parts)
    return value
