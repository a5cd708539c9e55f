"""Compile functions of tensors ahead of time, into packages that any process can load."""

import dataclasses
import io
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distpg.errors import InputError, format_error

Loaded = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""From the flat arguments to the results."""


def _addmm(bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return left @ right + bias


_SMALLER = {torch.ops.aten.addmm.default: _addmm}
"""The bias is added in the loop that applies the activation, not in a pass of its own."""
_FASTER = {
    # by exp: the error of a gradient stays that of float32
    "cpp.use_decompose_tanh": True,
    # or the compiler's patterns would undo what `_SMALLER` does
    "pattern_matcher": False,
}


def flatten(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested dataclasses, dicts and tuples."""
    if isinstance(value, Tensor):
        yield value
    else:
        for part in _parts(value).values():
            yield from flatten(part)


def unflatten(like: Any, tensors: Iterator[Tensor]) -> Any:
    """Return what has the structure of `like` and the next tensors."""
    if isinstance(like, Tensor):
        return next(tensors)
    parts = {name: unflatten(part, tensors) for name, part in _parts(like).items()}
    if dataclasses.is_dataclass(like):
        return type(like)(**parts)
    return parts if isinstance(like, dict) else tuple(parts.values())


def _parts(value: Any) -> dict[Any, Any]:
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    # in an order that does not depend on who made it
    return dict(sorted(value.items())) if isinstance(value, dict) else dict(enumerate(value))


def compile_function(
    function: Callable[..., tuple[Tensor, ...]], examples: tuple[Any, ...], axes: dict[int, str]
) -> bytes:
    """Compile a function that may differentiate, and may write to its arguments.

    Args:
        function: Takes `examples`; what it reads besides keeps its present value.
        examples: Nested dataclasses, dicts and tuples of tensors.
        axes: Arguments, by index, whose tensors have a first axis of any size, and that size's
            name. The size in the examples must differ from all others.

    Returns:
        A package for `load`.
    """
    # these imports take seconds
    from torch._inductor import aoti_compile_and_package, config
    from torch.export import Dim, export
    from torch.fx.experimental.proxy_tensor import make_fx

    dims = {name: Dim(name, min=1, max=2**31) for name in axes.values()}
    shapes = [
        {0: dims[axes[index]]} if index in axes else None
        for index, example in enumerate(examples)
        for _ in flatten(example)
    ]

    def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
        return function(*unflatten(examples, iter(tensors)))

    given = tuple(flatten(examples))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # export does not differentiate, so the derivative is traced before
        trace = make_fx(flat, _SMALLER, tracing_mode="symbolic", _allow_non_fake_inputs=True)
        exported = export(trace(*given), given, dynamic_shapes=tuple(shapes), strict=False)
        path = Path(folder) / "function.pt2"
        with config.patch(_FASTER):
            return Path(aoti_compile_and_package(exported, package_path=str(path))).read_bytes()


def load(package: bytes) -> Loaded:
    """Load a package from `compile_function`.

    Raises:
        InputError: the library in it cannot be loaded from the folder for temporary files.
    """
    # torch's own loader imports its compiler, which takes two seconds
    native = getattr(torch._C, "_aoti", None)  # pyright: ignore[reportPrivateUsage]
    runner = getattr(native, "AOTIModelContainerRunnerCpu", None)
    try:
        if runner is None:
            return _load_publicly(package)
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".so"))
            with library_file(archive.read(name)) as path:
                return runner(path, 1).run
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"--compile: the compiled update cannot be loaded: {format_error(error)}; set TMPDIR "
            "to a folder from which libraries may be loaded, or use --compile off"
        ) from error


def _load_publicly(package: bytes) -> Loaded:
    from torch._inductor import aoti_load_package

    with tempfile.NamedTemporaryFile(suffix=".pt2") as file:
        file.write(package)
        file.flush()
        loaded = aoti_load_package(file.name)
    return lambda tensors: loaded(*tensors)


@contextmanager
def library_file(content: bytes) -> Generator[str]:
    """Context manager: the path of a library; on Linux in memory, so that a kill leaves nothing."""
    if sys.platform != "linux":
        with tempfile.NamedTemporaryFile(suffix=".so") as file:
            file.write(content)
            file.flush()
            yield file.name
        return
    # it stays open: another library of the same path would count as loaded
    number = os.memfd_create("distpg")
    with os.fdopen(os.dup(number), "wb") as file:
        file.write(content)
    yield f"/proc/self/fd/{number}"
