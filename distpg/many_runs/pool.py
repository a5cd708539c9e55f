"""Processes of whole runs under way, at most so many at a time; Ctrl-C lets them save."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from distpg.many_runs.process import Ended, Process
from distpg.signals import handle_signals

POLL_S = 0.1
"""Seconds between two looks at what runs."""
Key = TypeVar("Key")
"""What the caller knows a process by."""


class Pool(Generic[Key]):
    """Processes under way."""

    def __init__(self, parallel: int, say: Callable[[str], None], *, shown: bool = False) -> None:
        """Initialize.

        Args:
            parallel: How many at a time.
            say: Called with a line of progress.
            shown: Whether processes print where this one does.
        """
        self.parallel = parallel
        self.say = say
        self.shown = shown
        self.active: list[tuple[Key, Process]] = []

    @property
    def is_full(self) -> bool:
        """Whether no further process may start."""
        return len(self.active) >= self.parallel

    def start(self, key: Key, words: Sequence[str], module: str = "distpg") -> None:
        """Start a process."""
        self.active.append((key, Process(words, module, shown=self.shown)))

    def wait(self) -> list[tuple[Key, Ended]]:
        """Wait a moment, and return which have ended, and how."""
        time.sleep(POLL_S)
        ended = [pair for pair in self.active if pair[1].ended()]
        for pair in ended:
            self.active.remove(pair)
        return [(key, process.close()) for key, process in ended]

    def interrupt(self, chosen: Callable[[Key], bool]) -> None:
        """Let the processes of some keys end after their iteration."""
        for key, process in self.active:
            if chosen(key):
                process.interrupt()

    @contextmanager
    def saving(self) -> Generator[None]:
        """Context manager: on Ctrl-C, let all end after their iteration, at once after another."""
        try:
            yield
        except KeyboardInterrupt:
            if not self.shown:
                self.say(
                    "stopping the runs after their iteration; signal again to abort immediately"
                )
            with handle_signals(lambda number, frame: self._interrupt_all()):
                self._interrupt_all()
                for _, process in self.active:
                    process.wait()
            raise

    def _interrupt_all(self) -> None:
        self.interrupt(lambda key: True)
