"""The two kinds of failure: bad user input (exit code 2), and a run that cannot continue (1)."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

MAX_LENGTH = 700
"""Characters of an InputError's message, which may quote long input."""
MAX_MESSAGE = 500
"""Characters of an exception's text in a message."""


class InputError(ValueError):
    """The user's input is invalid; the message is short and names it."""

    def __init__(self, message: str) -> None:
        """Store the message; a long one is shortened in the middle."""
        half = MAX_LENGTH // 2
        short = len(message) <= MAX_LENGTH
        super().__init__(message if short else f"{message[:half]} ... {message[-half:]}")


class FormatError(InputError):
    """A file is of a format that this version does not read; it may be intact."""


class RunError(RuntimeError):
    """The run cannot continue, e.g. because an env kept raising or restarts were used up."""


class EnvError(RunError):
    """A copy of an environment returned a value that is not allowed, or called sys.exit."""

    def __init__(self, message: str, env: int) -> None:
        """Store the message, and which of N copies it was."""
        super().__init__(message)
        self.env = env


class ProcessLostError(RunError):
    """A process died or exceeded its deadline; a replacement may repeat its work."""

    def __init__(self, message: str, *, with_its_node: bool = False) -> None:
        """Store the message, and whether the process was lost because its node was."""
        super().__init__(message)
        self.with_its_node = with_its_node


class ObjectLostError(RunError):
    """The result of a process was lost with its node."""


class AnomalyError(RunError):
    """An update produced non-finite losses, gradients or weights."""

    def __init__(self, message: str, stats: Mapping[str, float]) -> None:
        """Store the message, and the statistics of the update."""
        super().__init__(message)
        self.stats = stats


class LateError(BaseException):
    """A deadline expired in this process.

    A BaseException, so that `except Exception` in an environment does not swallow it.
    """


@contextmanager
def prefix_errors(prefix: str) -> Generator[None]:
    """Context manager: prefix an InputError raised in the block with the input it concerns.

    Raises:
        InputError: with the prefix.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{prefix}: {error}") from error


def format_error(error: BaseException) -> str:
    """Format an exception as one line, "Type: message", cut at `MAX_MESSAGE` characters."""
    try:
        text = " ".join(str(error).split())
    # the user's class may raise anything when it is turned into text
    except Exception:
        text = "(no message: str() of the exception raised)"
    cut = f"{text[:MAX_MESSAGE]} ..." if len(text) > MAX_MESSAGE else text
    return f"{type(error).__name__}: {cut}"
