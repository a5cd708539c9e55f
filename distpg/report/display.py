"""Progress display: a live line on a terminal, plain lines otherwise."""

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from distpg.config.config import Config
from distpg.iteration import Iteration
from distpg.progress import Progress
from distpg.report.log import RunLog
from distpg.report.numbers import format_return

PLAIN_EVERY_S = 1.0
"""Minimum seconds between plain lines."""


class Screen(Console):
    """A rich console that raises BrokenPipeError instead of exiting."""

    def on_broken_pipe(self) -> None:
        """Re-raise the error that rich is handling."""
        raise  # noqa: PLE0704 (called in an except block)


class Display:
    """Shows progress, and prints other lines of the run without breaking the live line."""

    def __init__(self, config: Config, *, quiet: bool) -> None:
        """Start the display; with `quiet` it prints nothing."""
        self.console = Screen(quiet=quiet, highlight=False, soft_wrap=True)
        self.config = config
        self.log = RunLog()
        """Gets every line, whatever is printed."""
        self.began: float | None = None
        self.start_steps = 0
        self.last_line = 0.0
        self.pending = ""
        """The last iteration, unless it was printed; and unless it was logged:"""
        self.unlogged = ""
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("starting", total=config.total_steps)
        self.bar.start()

    def begin(self, progress: Progress) -> None:
        """Record the start of training, from which steps per second are counted."""
        self.began, self.start_steps = time.perf_counter(), progress.env_steps

    def on_iteration(self, iteration: Iteration) -> None:
        """Show the progress after an iteration."""
        progress = iteration.progress
        now = time.perf_counter()
        assert self.began is not None, "begin() was not called"
        fps = (progress.env_steps - self.start_steps) / (now - self.began)
        mean = progress.mean_return
        outcome = "no episode yet" if mean is None else f"return {format_return(mean)}"
        line = (
            f"iteration {progress.iteration}  {progress.env_steps:,} steps  {outcome}  "
            f"{fps:,.0f} steps/s"
        )
        self.bar.update(self.task, completed=progress.env_steps, description=line)
        self.pending = self.unlogged = line
        if now - self.last_line >= PLAIN_EVERY_S:
            self.last_line = now
            self._log_pending()
            if not self.console.is_terminal:
                self._print_pending()

    def _log_pending(self) -> None:
        line, self.unlogged = self.unlogged, ""
        if line:
            self._keep(line)

    def _print_pending(self) -> None:
        line, self.pending = self.pending, ""
        if line:
            self._print(line)

    def say(self, line: str) -> None:
        """Print a line."""
        self._keep(line)
        self._print(line)

    def _keep(self, line: str) -> None:
        failed = self.log.error
        self.log.write(line)
        if self.log.error and not failed:
            self._print(f"the log cannot be written: {self.log.error}; training continues")

    def _print(self, line: str) -> None:
        with self._ignoring_output_errors():
            self.console.print(line, markup=False)

    def interject(self, line: str) -> None:
        """Print a line from a signal handler, without the locks and buffers of the console."""
        self.log.write(line)
        clear = "\r\x1b[2K" if self.console.is_terminal else ""
        if not self.console.quiet:
            with suppress(OSError):
                os.write(self.console.file.fileno(), f"{clear}{line}\n".encode())

    @contextmanager
    def _ignoring_output_errors(self) -> Generator[None]:
        """Context manager: disable the display if its pipe is closed or its disk is full."""
        try:
            yield
        except OSError as error:
            self.console.quiet = True
            with suppress(OSError):
                sys.stderr.write(f"output disabled, training continues: {error}\n")
                # otherwise Python fails at exit when it flushes its buffer
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.console.file.fileno())

    def close(self) -> None:
        """Stop the live line, and print the last iteration as a plain line."""
        with self._ignoring_output_errors():
            self.bar.stop()
        self._log_pending()
        self._print_pending()
