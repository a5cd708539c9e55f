"""Names of objects in settings: module:Name, or the name of an object that was given in Python.

`Config` turns an object into its name, which knows the object, travels with it to other processes,
and is text for everything else: files, messages, comparisons. The text is module:Name if that leads
to the object, else <Name>: then only Python can give the object again.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, Self

from distpg.config.values import flag
from distpg.errors import InputError

Importable = str | Callable[..., Any]
"""A name as on the command line, or in Python what it would name: a class or another callable."""
OF_OBJECTS = ("env_id", "env_wrapper", "encoder", "watcher")
"""Settings that may be objects."""


class ObjectName(str):
    """The name of an object that was given in Python."""

    found: Any
    """The object."""

    def __deepcopy__(self, memo: object) -> Self:
        """Return the name itself, which does not change."""
        return self


def name_of(found: Callable[..., Any]) -> str:
    """Return module:Name if other processes can import the object by that, else <Name>."""
    inner = found.func if isinstance(found, partial) else found
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    module = getattr(inner, "__module__", "")
    try:
        same = module != "__main__" and attrgetter(name)(sys.modules[module]) == found
    # a local class, a lambda, or a module that was removed
    except (AttributeError, KeyError):
        same = False
    return f"{module}:{name}" if same else f"<{name}>"


def as_name(given: Importable) -> str:
    """Return a name as it is, and of an object the name that knows it."""
    if isinstance(given, str):
        return given
    name = ObjectName(name_of(given))
    name.found = given
    return name


def as_names(value: Any) -> Any:
    """Replace the objects among a setting's values by their names; a list becomes a tuple."""
    if isinstance(value, list | tuple):
        return tuple(as_names(item) for item in value)
    return as_name(value) if callable(value) else value


def check_same_names(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Check that objects which are given again are called what a run recorded.

    The module may differ: of a script it is not known to other processes.

    Raises:
        InputError: one is not; the message names the setting.
    """
    for setting, value in given.items():
        before, now = recorded[setting], as_names(value)
        if _bare(before) != _bare(now):
            raise InputError(f"{flag(setting)}: the run has {_listed(before)}, not {_listed(now)}")


def _bare(value: Any) -> Any:
    """Return names without their modules."""
    if isinstance(value, tuple):
        return tuple(map(_bare, value))
    return value and value.strip("<>").split(":", 1)[-1]


def _listed(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)
