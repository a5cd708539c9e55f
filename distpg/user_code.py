"""Import user code, and locate errors in it."""

import importlib
import os
import sys
import traceback
from pathlib import Path

from distpg.config.values import did_you_mean
from distpg.errors import InputError, format_error

NOT_USER_CODE = ("distpg", "gymnasium", "importlib", "torch")
"""Packages whose stack frames are skipped when an error is located."""


def import_object(name: str) -> object:
    """Import an object given as module:name.

    Raises:
        InputError: the module cannot be imported, or has no such name.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise InputError("must be of the form module:name")
    try:
        names = vars(importlib.import_module(module))
    except (Exception, SystemExit) as error:
        raise InputError(f"cannot be imported: {format_user_error(error)}") from error
    if attribute not in names:
        raise InputError(f"{module} has no {attribute}{did_you_mean(attribute, names)}")
    return names[attribute]


def format_user_error(error: BaseException) -> str:
    """Format an exception as one line, with the file and line of user code that raised it."""
    files = (getattr(sys.modules.get(name), "__file__", None) for name in NOT_USER_CODE)
    # a folder, not the beginning of a longer name such as gymnasium_robotics
    skipped = ("<frozen", *(f"{Path(file).parent}{os.sep}" for file in files if file))
    frames = traceback.extract_tb(error.__traceback__)
    user_frames = [frame for frame in frames if not frame.filename.startswith(skipped)]
    if not user_frames:
        return format_error(error)
    last = user_frames[-1]
    return f"{format_error(error)} ({Path(last.filename).name}, line {last.lineno})"
