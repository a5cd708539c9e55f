"""The two ways a command ends badly: the user's input, or something that happened to the run."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

LONGEST = 700
"""Characters of a message about input, which may quote what it was given."""


class InputError(ValueError):
    """What the user gave cannot be used: one short message that names it; exit code 2."""

    def __init__(self, message: str) -> None:
        """Take the message, without its middle where it is very long."""
        half = LONGEST // 2
        short = len(message) <= LONGEST
        super().__init__(message if short else f"{message[:half]} ... {message[-half:]}")


class RunError(RuntimeError):
    """The run cannot go on (an env raised, a process died, a deadline passed); exit code 1."""


class ProcessLostError(RunError):
    """A process died or is past its deadline; another may do again what it was doing."""

    def __init__(self, message: str, *, with_its_node: bool = False) -> None:
        """Say whether its machine was lost, which says nothing against the process."""
        super().__init__(message)
        self.with_its_node = with_its_node


class AnomalyError(RunError):
    """An update came to losses, gradients or weights that are no numbers."""

    def __init__(self, message: str, stats: Mapping[str, float]) -> None:
        """Say what it came to, and what else was measured of it."""
        super().__init__(message)
        self.stats = stats


class LateError(BaseException):
    """A deadline passed in this process; no guard and no environment takes it for a fault."""


class ObjectLostError(RunError):
    """What a process had made was lost with its machine."""


@contextmanager
def prefix_errors(what: str) -> Generator[None]:
    """Name what input an error is about, which is raised where that is not known.

    Raises:
        InputError: the same, with the name.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def format_error(error: BaseException) -> str:
    """Write an exception in a line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
