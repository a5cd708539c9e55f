"""Packages that only some features need, and an extra of distpg installs."""

import importlib
from typing import Any

from distpg.errors import InputError


def import_extra(module: str, extra: str, *, needed_by: str, instead: str = "") -> Any:
    """Import a module that an extra of distpg installs.

    Args:
        module: The module.
        extra: The extra.
        needed_by: What needs it, for the message.
        instead: What else may be done, for the message.

    Raises:
        InputError: it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package, otherwise = module.partition(".")[0], f", or {instead}" if instead else ""
        raise InputError(
            f"{needed_by} needs {package}, which cannot be imported ({error}); run: "
            f"pip install 'distpg[{extra}]'{otherwise}"
        ) from error
