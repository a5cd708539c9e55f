"""The packages of the extra `export`."""

import importlib
from typing import Any

from distpg.errors import InputError


def import_runtime() -> Any:
    """Import onnxruntime, and what torch writes ONNX files with.

    Raises:
        InputError: a package is not installed.
    """
    try:
        importlib.import_module("onnx")
        importlib.import_module("onnxscript")
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise InputError(
            f"an ONNX file needs onnx, onnxscript and onnxruntime ({error}); install them with pip "
            "install 'distpg[export]'"
        ) from error
