"""What a run shows of itself: messages, and a panel or lines; all messages also go to log.txt."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, RLock, Thread
from typing import Any

from rich.panel import Panel

from distpg.config.config import Config
from distpg.errors import format_error
from distpg.iteration import Iteration
from distpg.progress import Progress
from distpg.report.clock import Clock
from distpg.report.fault_events import FaultEvents
from distpg.report.log import RunLog
from distpg.report.notebook import Cell
from distpg.report.numbers import format_return
from distpg.report.outputs import JsonLines, Lines, Output, Screen, Silence, encoding_of
from distpg.report.panel import panel, rows_of, text_width
from distpg.report.terminal import Terminal
from distpg.report.tracker import Collectors, Tracker
from distpg.report.trends import format_seconds

PLAIN_EVERY_S = 1.0
"""Minimum seconds between plain lines."""
DRAW_EVERY_S = 1.0
"""A drawing takes 1 to 2 ms."""
WAKE_EVERY_S = 0.25
"""To print what a signal handler said."""
LATE_S = 10.0
"""After which a phase is named in a plain line; again after three times as long, and so on."""
CLOSE_S = 1.0
"""Deadline of the thread that draws, when the run ends."""
MAX_WIDTH = 120
"""Columns of the panel at most."""
Phase = str | Callable[[], str]
"""What a run is doing before its first iteration ends, or what returns it."""


def find_output(*, quiet: bool, json_lines: bool) -> Output:
    """Return the output that fits the flags, and what standard output is."""
    if quiet or sys.stdout is None:
        return Silence()
    if json_lines:
        return JsonLines()
    console = Screen(highlight=False, soft_wrap=True)
    if console.is_jupyter:
        return Cell()
    moves = console.is_terminal and not console.is_dumb_terminal
    draws = encoding_of(console).lower().startswith("utf")
    return Terminal(console) if moves and draws else Lines(console)


class Display:
    """Shows the phases of the start, the iterations, and other lines of the run.

    A thread draws the panel: the loop does not wait for a terminal, and the seconds run on during a
    long iteration. An error of the output is reported once, and the run goes on without it.
    """

    line_every_s = PLAIN_EVERY_S
    """Minimum seconds between lines of iterations."""
    lines_above_panel = False
    """Whether those lines are printed where the panel is shown, too."""

    def __init__(
        self,
        config: Config,
        *,
        quiet: bool,
        json_lines: bool = False,
        tracker: Tracker | None = None,
    ) -> None:
        """Start the display.

        Args:
            config: The settings of the run.
            quiet: Print nothing.
            json_lines: Print JSON.
            tracker: Gathers what the panel shows, in place of one for a training run.
        """
        self.log = RunLog()
        """Gets every line, whatever is printed."""
        self.faults = FaultEvents(self.say)
        self.output = find_output(quiet=quiet, json_lines=json_lines)
        self.tracker = tracker or Tracker(config)
        self.doing: Phase = ""
        """The phase; empty after the first iteration."""
        self.doing_since = 0.0
        self.late_s = LATE_S
        """When the phase is named for taking long."""
        self.last_line = 0.0
        self.is_printed = self.is_logged = True
        """Whether the line of the last iteration was."""
        self.interjected = deque[str]()
        """Lines of signal handlers that are not printed yet."""
        self.ended: Mapping[str, Any] | None = None
        """How the run ended, unless it was shown."""
        self.lock = RLock()
        self.closed = Event()
        self.thread = Thread(target=self._draw_until_closed, daemon=True)
        if not quiet:
            self.thread.start()

    def collected_by(self, workers: Collectors) -> None:
        """Take the workers, to show how many there are and how far they are."""
        self.tracker.workers = workers

    def phase(self, doing: Phase) -> None:
        """Show what the run is doing until its first iteration ends."""
        with self.lock:
            self.doing, self.doing_since, self.late_s = doing, time.monotonic(), LATE_S

    def begin(self, progress: Progress, clock: Clock) -> None:
        """Record the start of training, from which steps per second are counted."""
        self.tracker.begin(progress, clock)
        self.phase(self.tracker.first_rollout)

    def on_iteration(self, iteration: Iteration) -> None:
        """Show the progress after an iteration."""
        now = time.perf_counter()
        with self.lock:
            self.doing = ""
            self.tracker.on_iteration(iteration)
            with self._ignoring_output_errors():
                self.output.iteration(iteration)
            self.is_printed = self.is_logged = False
            if now - self.last_line >= self.line_every_s:
                self.last_line = now
                self._log_iteration()
                if self.lines_above_panel or not self.output.live:
                    self._print_iteration()

    def line(self) -> str:
        """Return the line of the last iteration."""
        progress = self.tracker.progress
        mean = progress.mean_return
        outcome = "no episode yet" if mean is None else f"return {format_return(mean)}"
        return (
            f"iteration {progress.iteration}  {progress.env_steps:,} steps  {outcome}  "
            f"{self.tracker.rate:,.0f} steps/s"
        )

    def _log_iteration(self) -> None:
        if not self.is_logged:
            self.is_logged = True
            self._keep(self.line())

    def _print_iteration(self) -> None:
        if not self.is_printed:
            self.is_printed = True
            with self._ignoring_output_errors():
                self.output.line(self.line())

    def say(self, line: str) -> None:
        """Print a line."""
        with self.lock:
            self._print_interjected()
            self._keep(line)
            self._print(line)

    def result(self, run_dir: str, result: Mapping[str, Any]) -> None:
        """Take how the run ended; it is shown after all else is said."""
        self.ended = {"run_dir": run_dir, **result}
        if self.closed.is_set():
            self._show_result()

    def _show_result(self) -> None:
        with self.lock, self._ignoring_output_errors():
            if self.ended is not None:
                self.output.result(self.ended)

    def _keep(self, line: str) -> None:
        failed = self.log.error
        self.log.write(line)
        if self.log.error and not failed:
            self._print(f"the log cannot be written: {self.log.error}; training continues")

    def _print(self, line: str) -> None:
        with self._ignoring_output_errors():
            self.output.message(line)

    def interject(self, line: str) -> None:
        """Log a line from a signal handler, and have it printed soon: a handler takes no locks."""
        self.log.write(line)
        self.interjected.append(line)

    def _print_interjected(self) -> None:
        while self.interjected:
            self._print(self.interjected.popleft())

    def _draw_until_closed(self) -> None:
        drawn_at = 0.0
        try:
            while not self.closed.wait(WAKE_EVERY_S):
                with self.lock:
                    self._print_interjected()
                if time.monotonic() - drawn_at >= DRAW_EVERY_S:
                    drawn_at = time.monotonic()
                    self._draw()
        except Exception as error:
            with self.lock, self._ignoring_output_errors():
                if self.output.live:
                    self.output.close()
                    self.output = Lines(Screen(highlight=False, soft_wrap=True))
            self.say(f"the panel cannot be drawn: {format_error(error)}; training continues")

    def _draw(self) -> None:
        doing = self.doing
        # it may ask the cluster, for which nothing else is to wait
        text = doing if isinstance(doing, str) else doing()
        with self.lock:
            if self.doing is not doing or self.closed.is_set():
                return
            waited_s = time.monotonic() - self.doing_since
            if doing and waited_s > self.late_s:
                late = f"{text}: {self.late_s:.0f} s so far"
                self.late_s *= 3
                (self._keep if self.output.live else self.say)(late)
            if doing:
                rows = [("phase", [text, format_seconds(waited_s)])]
                self._show(lambda width: panel(self.tracker.title, rows, width))
            elif self.tracker.scalars:
                self._show(self._progress_panel)

    def _show(self, draw: Callable[[int], Panel]) -> None:
        with self._ignoring_output_errors():
            self.output.panel(lambda width: draw(min(width, MAX_WIDTH)))

    def _progress_panel(self, width: int) -> Panel:
        return panel(self.tracker.title, rows_of(self.tracker.state(), text_width(width)), width)

    @contextmanager
    def _ignoring_output_errors(self) -> Generator[None]:
        """Context manager: disable the display if its pipe is closed or its disk is full."""
        try:
            yield
        except OSError as error:
            broken, self.output = self.output, Silence()
            with suppress(OSError):
                # otherwise Python fails at exit when it flushes its buffer
                os.dup2(os.open(os.devnull, os.O_WRONLY), broken.file.fileno())
            with suppress(OSError):
                broken.close()
            with suppress(OSError):
                sys.stderr.write(f"output disabled, training continues: {error}\n")

    def close(self) -> None:
        """Take the panel away, and print the last iteration as a plain line."""
        self.closed.set()
        if self.thread.is_alive():
            self.thread.join(CLOSE_S)
        with self.lock:
            with self._ignoring_output_errors():
                self.output.close()
            self._print_interjected()
            self._log_iteration()
            self._print_iteration()
            self._show_result()
