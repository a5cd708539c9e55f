"""Python that the user wrote: how it is imported, and where it went wrong."""

import importlib
import sys
import traceback
from pathlib import Path

from distpg.config.values import did_you_mean
from distpg.errors import InputError, format_error

CALLERS = ("distpg", "gymnasium", "importlib", "torch")
"""Packages that an exception may pass through on its way out of the user's code."""


def import_object(name: str) -> object:
    """Import what module:name names.

    Raises:
        InputError: there is no such thing.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise InputError("it is not of the form module:name")
    try:
        names = vars(importlib.import_module(module))
    except (Exception, SystemExit) as error:
        raise InputError(f"it cannot be imported: {format_user_error(error)}") from error
    if attribute not in names:
        raise InputError(f"{module} has no {attribute}{did_you_mean(attribute, names)}")
    return names[attribute]


def format_user_error(error: BaseException) -> str:
    """Write an exception in a line, with the place in the user's code that raised it."""
    files = (getattr(sys.modules.get(name), "__file__", None) for name in CALLERS)
    not_the_users = ("<frozen", *(str(Path(file).parent) for file in files if file))
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if not frame.filename.startswith(not_the_users)]
    place = f" ({Path(places[-1].filename).name}, line {places[-1].lineno})" if places else ""
    return format_error(error) + place
