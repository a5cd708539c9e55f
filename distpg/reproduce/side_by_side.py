"""Runs side by side, each in a process of its own: trained or resumed, then measured."""

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from distpg.errors import InputError
from distpg.report.numbers import format_return
from distpg.reproduce.measures import measure
from distpg.reproduce.process import Process
from distpg.reproduce.results import write_measured
from distpg.reproduce.runs import Run, next_words
from distpg.reproduce.table import MEASURES
from distpg.signals import handle_signals

POLL_S = 0.1
"""Seconds between two looks at what runs."""


class Step(NamedTuple):
    """A command of a run, which is under way."""

    run: Run
    command: str
    process: Process


class SideBySide:
    """Brings runs to their end, several at a time; one that fails does not stop the others."""

    def __init__(self, runs: Sequence[Run], parallel: int, say: Callable[[str], None]) -> None:
        """Initialize.

        Args:
            runs: Those to be trained and measured.
            parallel: How many at a time.
            say: Called with a line of progress.
        """
        self.waiting = deque(runs)
        self.parallel = parallel
        self.say = say
        self.active: list[Step] = []
        self.failures: dict[str, str] = {}
        self.told: set[str] = set()
        self.total, self.done = len(runs), 0

    def complete(self) -> dict[str, str]:
        """Return why runs failed, by their names; all others are finished and measured.

        Raises:
            KeyboardInterrupt: Ctrl-C; the runs under way are saved.
        """
        try:
            while self.waiting or self.active:
                self._start_more()
                time.sleep(POLL_S)
                for step in [step for step in self.active if step.process.ended()]:
                    self.active.remove(step)
                    self._go_on_after(step)
        except KeyboardInterrupt:
            self._stop()
            raise
        return self.failures

    def _start_more(self) -> None:
        for _ in range(len(self.waiting)):
            if len(self.active) >= self.parallel:
                return
            run = self.waiting.popleft()
            if run.being_written():
                self._tell_waiting(run)
                self.waiting.append(run)
            else:
                self._begin(run)

    def _tell_waiting(self, run: Run) -> None:
        if str(run) not in self.told:
            self.told.add(str(run))
            self.say(f"{run}: waiting for the process that writes {run.directory.given}")

    def _begin(self, run: Run, *, anew: bool = False) -> None:
        """Start the next command of a run, if there is one."""
        words = next_words(run, anew=anew)
        if words is None:
            self._tell_done(run)
            return
        if words[0] != "evaluate":
            self.say(f"{run}: {'resumed' if words[0] == 'resume' else 'training'}")
        self.active.append(Step(run, words[0], Process(words)))

    def _go_on_after(self, step: Step) -> None:
        """Start what comes after a command that has ended, or note why there is nothing."""
        run = step.run
        code, output, error = step.process.close()
        if step.command == "resume" and code == 2:
            # every checkpoint is damaged, or training had ended and only the result was missing
            self.say(f"{run}: cannot be resumed, and starts from the beginning: {error}")
            self._begin(run, anew=True)
            return
        if code != 0 or not run.finished():
            self._fail(run, error or f"{step.command} ended with exit code {code}")
            return
        if step.command == "evaluate":
            try:
                write_measured(run.record, measure(run.directory, json.loads(output)["returns"]))
            except InputError as problem:
                self._fail(run, str(problem))
                return
        self._begin(run)

    def _fail(self, run: Run, why: str) -> None:
        self.done += 1
        self.failures[str(run)] = why
        self.say(f"[{self.done}/{self.total}] {run}: failed: {why}")

    def _tell_done(self, run: Run) -> None:
        self.done += 1
        found = run.measured()
        assert found is not None, f"{run} is not measured"
        values = {name.replace("_", " "): found.measures[name] for name in MEASURES}
        parts = [f"{x} {format_return(value)}" for x, value in values.items() if value is not None]
        parts.append(f"{found.env_steps:,} env steps, {found.train_s:.0f} s")
        self.say(f"[{self.done}/{self.total}] {run}: {', '.join(parts)}")

    def _stop(self) -> None:
        """Let the runs under way end after their iteration; at once after a second signal."""
        self.say("stopping the runs after their iteration; signal again to abort immediately")
        with handle_signals(lambda number, frame: self._signal()):
            self._signal()
            for step in self.active:
                step.process.wait()

    def _signal(self) -> None:
        for step in self.active:
            step.process.interrupt()
