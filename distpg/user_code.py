"""Import user code, and locate errors in it."""

import importlib
import os
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path

from distpg.config.names import ObjectName
from distpg.config.values import did_you_mean
from distpg.errors import InputError, format_error

NOT_USER_CODE = ("distpg", "gymnasium", "importlib", "torch")
"""Packages whose stack frames are skipped when an error is located."""


def import_object(name: str) -> object:
    """Import an object given as module:name, where the name may have dots.

    The name of an object that was given in Python leads to it without an import.

    Raises:
        InputError: the module cannot be imported, or has no such name.
    """
    if isinstance(name, ObjectName):
        return name.found
    if name.startswith("<"):
        raise InputError(
            "it was given in Python and cannot be imported; give the object again, in Python, to "
            "distpg.train, resume, evaluate, export or load_policy"
        )
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise InputError("must be of the form module:name")
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(why_not_imported(module, error)) from error
    try:
        return attrgetter(attribute)(imported)
    except AttributeError as error:
        near = did_you_mean(attribute, dir(imported))
        raise InputError(f"{module} has no {attribute}{near}") from error


def why_not_imported(module: str, error: BaseException) -> str:
    """Say why a module cannot be imported, and how it is called if its file was named."""
    hint = ""
    if module.endswith(".py") and not module.startswith(("/", "..")):
        name = module.removesuffix(".py").removeprefix("./").replace("/", ".")
        hint = f"; name the module, not its file: {name}"
    return f"cannot be imported: {format_user_error(error)}{hint}"


@contextmanager
def keeping_import_path() -> Generator[None]:
    """Context manager: what user code removes from `sys.path` is back after the block."""
    before = [*sys.path]
    try:
        yield
    finally:
        sys.path += [folder for folder in before if folder not in sys.path]


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
