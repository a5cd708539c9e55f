"""What a person sees while a run trains: a live line on a terminal, plain lines elsewhere."""

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

PLAIN_EVERY_S = 1.0


class Screen(Console):
    """rich's, without an end of the program where nobody reads its output."""

    def on_broken_pipe(self) -> None:
        """Pass the error on."""
        raise  # noqa: PLE0704 (rich calls this while it handles the error)


class Display:
    """Shows progress, and prints the run's other lines so that they do not cut through it."""

    def __init__(self, config: Config, *, quiet: bool) -> None:
        """Open the display; `quiet` shows nothing."""
        self.console = Screen(quiet=quiet, highlight=False, soft_wrap=True)
        self.config = config
        self.began: float | None = None
        self.start_steps = 0
        self.last_line = 0.0
        self.pending = ""
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
        """Note where and when training starts."""
        self.began, self.start_steps = time.perf_counter(), progress.env_steps

    def on_iteration(self, iteration: Iteration) -> None:
        """Show one iteration."""
        progress = iteration.progress
        now = time.perf_counter()
        assert self.began is not None, "begin comes first"
        fps = (progress.env_steps - self.start_steps) / (now - self.began)
        mean = "no episode yet" if progress.mean_return is None else f"{progress.mean_return:.1f}"
        line = (
            f"iteration {progress.iteration}  {progress.env_steps:,} steps  return {mean}  "
            f"{fps:,.0f}/s"
        )
        self.bar.update(self.task, completed=progress.env_steps, description=line)
        self.pending = line
        if not self.console.is_terminal and now - self.last_line >= PLAIN_EVERY_S:
            self.last_line = now
            self._print_pending()

    def _print_pending(self) -> None:
        if self.pending:
            self.say(self.pending)
        self.pending = ""

    def say(self, line: str) -> None:
        """Print a line of its own."""
        with self._leniently():
            self.console.print(line, markup=False)

    def interject(self, line: str) -> None:
        """Print a line from a signal's handler, where locks and buffers may be in use."""
        clear = "\r\x1b[2K" if self.console.is_terminal else ""
        if not self.console.quiet:
            with suppress(OSError):
                os.write(self.console.file.fileno(), f"{clear}{line}\n".encode())

    @contextmanager
    def _leniently(self) -> Generator[None]:
        """Go on without a display where nobody reads it any more, or its disk is full."""
        try:
            yield
        except OSError as error:
            self.console.quiet = True
            with suppress(OSError):
                sys.stderr.write(f"output disabled, training continues: {error}\n")
                # Python would fail over what is left in its buffer when it exits
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.console.file.fileno())

    def close(self) -> None:
        """End the live line; the last iteration stays to be seen."""
        with self._leniently():
            self.bar.stop()
        self._print_pending()
