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
        InputError: there is no C++ compiler; in a call, the function cannot be compiled.
    """
    # imported here, since they take a second that only a compiled run should pay
    from torch._dynamo import config
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        raise InputError(
            "--compile needs a C++ compiler where the learner runs; install one (g++ or clang), or "
            "leave --compile out"
        ) from error
    config.trace_autograd_ops = True
    quick = torch.compile(function, fullgraph=True)

    def call(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        try:
            return quick(*args, **kwargs)
        except TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"--compile: torch cannot compile the gradient ({reason}), as may be with an "
                "--encoder of your own; leave --compile out"
            ) from error

    return call
