"""Functions of tensors as machine code, by torch's compiler."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from distpg.errors import InputError

Args = ParamSpec("Args")
Result = TypeVar("Result")


def compiled(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Compile a function that may differentiate; it happens at its first calls.

    Few sizes of tensors are compiled for: one that changes from call to call becomes a variable.

    Raises:
        InputError: there is no C++ compiler.
    """
    # imported here, since they take a second that only a compiled run should pay
    from torch._dynamo import config
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        raise InputError(
            "--compile needs a C++ compiler where the learner runs; install one (g++ or clang), or "
            "leave --compile out"
        ) from error
    config.trace_autograd_ops = True
    return torch.compile(function, fullgraph=True)
