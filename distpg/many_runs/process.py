"""Programs of distpg in processes that end with this one."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

CHILD = "distpg.many_runs.child"
"""The program that a process begins with."""

SIGNALLED = 128
"""Exit codes above are this and the number of a signal."""


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    """Its exit code."""
    output: str
    """What it printed; empty if that was shown."""
    error: str
    """The line that says why it failed; empty if there is none, or if it was shown."""

    @property
    def was_lost(self) -> bool:
        """Whether it failed for lack of a machine: killed, told to stop, or without resources."""
        by_signal = self.code < 0 or self.code > SIGNALLED
        return by_signal or "--wait-for-resources" in self.error


class Process:
    """A Python module that runs as a program in a process, which ends with this one.

    Signals of the terminal do not reach it.
    """

    def __init__(
        self, words: Sequence[str], module: str = "distpg", *, shown: bool = False
    ) -> None:
        """Start it.

        Args:
            words: Its arguments.
            module: The module.
            shown: Whether it prints where this process does; otherwise `close` returns that.
        """
        self.shown = shown
        with ExitStack() as stack:
            self.output, self.errors = (
                stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)
            )
            self.child = subprocess.Popen(
                [sys.executable, "-m", CHILD, module, *words],
                stdin=subprocess.PIPE,
                stdout=None if shown else self.output,
                stderr=None if shown else self.errors,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
            self.files = stack.pop_all()

    def ended(self) -> bool:
        """Return whether it has ended."""
        return self.child.poll() is not None

    def wait(self) -> None:
        """Wait until it has ended."""
        self.child.wait()

    def interrupt(self) -> None:
        """Send it SIGINT."""
        self.child.send_signal(signal.SIGINT)

    def close(self) -> Ended:
        """Return how it ended, once it has."""
        assert self.child.stdin is not None, "it has a pipe"
        self.child.stdin.close()
        texts: list[str] = []
        with self.files:
            for file in (self.output, self.errors):
                file.seek(0)
                texts.append(file.read().decode(errors="replace").strip())
        output, errors = texts
        return Ended(self.child.returncode, output, error_in(errors.splitlines()))


def error_in(lines: Sequence[str]) -> str:
    """Return the line in which distpg says why it failed, or the last one; empty without any."""
    said = [line for line in lines if line.startswith("distpg: ")]
    return (said or list(lines) or [""])[-1]
