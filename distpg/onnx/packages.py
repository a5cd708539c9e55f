"""The packages of the extra `export`."""

from typing import Any

from distpg.extras import import_extra


def import_runtime() -> Any:
    """Import onnxruntime, and what torch writes ONNX files with.

    Raises:
        InputError: a package is not installed.
    """
    import_extra("onnx", "export", needed_by="an ONNX file")
    import_extra("onnxscript", "export", needed_by="an ONNX file")
    return import_extra("onnxruntime", "export", needed_by="an ONNX file")
