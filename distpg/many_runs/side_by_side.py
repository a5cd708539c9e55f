"""Runs side by side, each in a process of its own, until all are finished."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from distpg.errors import InputError
from distpg.many_runs.pool import Pool
from distpg.many_runs.process import Ended
from distpg.many_runs.run_files import is_finished, why_lost
from distpg.run.directory import RunDir


class WholeRun(Protocol):
    """A run that is to be finished; its text is its name in messages."""

    @property
    def directory(self) -> RunDir:
        """The run directory."""
        ...

    def next_words(self) -> list[str] | None:
        """Return the command that brings it further, or None if it is finished."""
        ...

    def take(self, command: str, output: str) -> None:
        """Take what a command printed that has ended well.

        Raises:
            InputError: it cannot be used.
        """
        ...

    def summary(self) -> str:
        """Describe what it reached, once it is finished."""
        ...


class RunCommand(NamedTuple):
    """A command of a run, whose process is under way."""

    run: WholeRun
    name: str


class SideBySide:
    """Brings runs to their end, several at a time; one that fails does not stop the others."""

    def __init__(
        self,
        runs: Sequence[WholeRun],
        parallel: int,
        say: Callable[[str], None],
        *,
        shown: bool = False,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """Initialize.

        Args:
            runs: Those to be finished.
            parallel: How many at a time.
            say: Called with a line of progress.
            shown: Whether the runs print where this process does.
            warn: Called with a line that is not to be missed; by default `say`.
        """
        self.waiting = deque(runs)
        self.pool = Pool[RunCommand](parallel, say, shown=shown)
        self.say = say
        self.warn = warn or say
        self.failures: dict[str, str] = {}
        self.told: set[str] = set()
        self.total, self.done = len(runs), 0

    def complete(self) -> dict[str, str]:
        """Return why runs failed, by their names; all others are finished.

        Raises:
            KeyboardInterrupt: Ctrl-C; the runs under way are saved.
        """
        with self.pool.saving():
            while self.waiting or self.pool.active:
                self._start_more()
                for command, ended in self.pool.wait():
                    self._go_on_after(command, ended)
        return self.failures

    def _start_more(self) -> None:
        for _ in range(len(self.waiting)):
            if self.pool.is_full:
                return
            run = self.waiting.popleft()
            if run.directory.being_written():
                self._tell_waiting(run)
                self.waiting.append(run)
            else:
                self._begin(run)

    def _tell_waiting(self, run: WholeRun) -> None:
        if str(run) not in self.told:
            self.told.add(str(run))
            self.say(f"{run}: waiting for the process that writes {run.directory.given}")

    def _begin(self, run: WholeRun) -> None:
        """Start the next command of a run, if there is one."""
        words = run.next_words()
        if words is None:
            self.done += 1
            self.say(f"[{self.done}/{self.total}] {run}: {run.summary()}")
            return
        if words[0] == "train" and (why := why_lost(run.directory)):
            self.warn(f"{run}: starts from the beginning: {why}")
        if words[0] in ("train", "resume"):
            self.say(f"{run}: {'resumed' if words[0] == 'resume' else 'training'}")
        self.pool.start(RunCommand(run, words[0]), words)

    def _go_on_after(self, command: RunCommand, ended: Ended) -> None:
        """Start what comes after a command that has ended, or note why there is nothing."""
        run = command.run
        if ended.code != 0 or not is_finished(run.directory):
            self._fail(run, ended.error or f"{command.name} ended with exit code {ended.code}")
            return
        try:
            run.take(command.name, ended.output)
        except InputError as problem:
            self._fail(run, str(problem))
        else:
            self._begin(run)

    def _fail(self, run: WholeRun, why: str) -> None:
        self.done += 1
        self.failures[str(run)] = why
        self.say(f"[{self.done}/{self.total}] {run}: failed: {why}")
