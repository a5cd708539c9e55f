"""Where the messages of a run go: plain lines, JSON lines, nowhere."""

import json
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from typing import IO, Any, Protocol, cast

from rich.console import Console, RenderableType

from distpg.iteration import Iteration

DrawPanel = Callable[[int], RenderableType]
"""From a number of columns to the panel."""


class Output(Protocol):
    """Shows what a run says. Each method may raise OSError."""

    live: bool
    """Whether it shows the panel, in place of lines of iterations."""

    @property
    def file(self) -> IO[str]:
        """What it writes to."""
        ...

    def message(self, line: str) -> None:
        """Show a line."""
        ...

    def line(self, line: str) -> None:
        """Show the line of an iteration."""
        ...

    def iteration(self, iteration: Iteration) -> None:
        """Take an iteration."""
        ...

    def panel(self, draw: DrawPanel) -> None:
        """Show the panel, in place of the one before."""
        ...

    def result(self, result: Mapping[str, Any]) -> None:
        """Take the result of the run, the last of all."""
        ...

    def close(self) -> None:
        """Take the panel away; messages may follow."""
        ...


class Silence:
    """Shows nothing."""

    live = False

    @property
    def file(self) -> IO[str]:
        """Standard output, which it does not write to."""
        return sys.stdout

    def message(self, line: str) -> None:
        """Do nothing, as with all else."""

    def line(self, line: str) -> None:
        """Do nothing."""

    def iteration(self, iteration: Iteration) -> None:
        """Do nothing."""

    def panel(self, draw: DrawPanel) -> None:
        """Do nothing."""

    def result(self, result: Mapping[str, Any]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Screen(Console):
    """A rich console that raises BrokenPipeError instead of exiting."""

    def on_broken_pipe(self) -> None:
        """Re-raise the error that rich is handling."""
        raise  # noqa: PLE0704 (called in an except block)


def encoding_of(console: Console) -> str:
    """Return the encoding of what a console writes to."""
    return getattr(console.file, "encoding", None) or "utf-8"


class Lines(Silence):
    """Plain lines, for a pipe, a file, or a terminal that cannot move its cursor."""

    def __init__(self, console: Console) -> None:
        """Take the console."""
        self.console = console

    @property
    def file(self) -> IO[str]:
        """What the console writes to."""
        return self.console.file

    def message(self, line: str) -> None:
        """Print a line; characters that the encoding lacks are replaced."""
        encoding = encoding_of(self.console)
        self.console.print(line.encode(encoding, "replace").decode(encoding), markup=False)

    def line(self, line: str) -> None:
        """Print it like any other."""
        self.message(line)


def apart_from_json(json: bool) -> AbstractContextManager[Any]:
    """Return a context manager for the work of a command that may print one JSON object.

    If it does, what else is printed meanwhile, as by an environment, goes to standard error.
    """
    return redirect_stdout(sys.stderr) if json else nullcontext()


class JsonLines(Silence):
    """One JSON object a line; what else is printed meanwhile goes to standard error."""

    def __init__(self) -> None:
        """Take standard output."""
        self.stdout = sys.stdout
        self.redirection = redirect_stdout(sys.stderr)
        self.redirection.__enter__()

    @property
    def file(self) -> IO[str]:
        """Standard output."""
        return self.stdout

    def message(self, line: str) -> None:
        """Write a message."""
        self._write({"event": "message", "message": line})

    def iteration(self, iteration: Iteration) -> None:
        """Write all scalars of an iteration."""
        progress = iteration.progress
        counts = {"iteration": progress.iteration, "env_steps": progress.env_steps}
        self._write({"event": "iteration", **counts, **iteration.scalars})

    def result(self, result: Mapping[str, Any]) -> None:
        """Write the result."""
        self._write({"event": "result", **result})

    def close(self) -> None:
        """Give standard output back to what else prints."""
        self.redirection.__exit__(None, None, None)

    def _write(self, values: Mapping[str, Any]) -> None:
        self.stdout.write(json.dumps(finite(values), allow_nan=False) + "\n")
        self.stdout.flush()


def finite(value: Any) -> Any:
    """Return JSON values with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {name: finite(one) for name, one in items}
    if isinstance(value, list | tuple):
        return [finite(one) for one in cast("list[Any]", value)]
    if isinstance(value, bool | int | str) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else None
