"""Compile functions of tensors with torch.compile."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from distpg.errors import InputError

Args = ParamSpec("Args")
Result = TypeVar("Result")


def torch_compile(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Compile a function that may differentiate; its first calls do the work.

    A size that changes from call to call becomes dynamic, so that few variants are compiled.

    Raises:
        InputError: there is no C++ compiler; in a call, the function cannot be compiled.
    """
    # these imports take a second, which only a compiled run should pay
    from torch._dynamo import config
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        raise InputError(
            "--compile: on needs a C++ compiler on the learner's machine; install g++ or clang, or "
            "use --compile off"
        ) from error
    config.trace_autograd_ops = True
    quick = torch.compile(function, fullgraph=True)

    def call(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        try:
            return quick(*args, **kwargs)
        except TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"--compile: torch cannot compile the gradient ({reason}), which may be due to a "
                "custom --encoder; use --compile off"
            ) from error

    return call
