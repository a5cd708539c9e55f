"""Faults in words, as they happen: for the user, and for the files of a run."""

from collections.abc import Callable

FaultWriter = Callable[[str, str], None]
"""Writes a fault, given its kind and its message."""


class FaultEvents:
    """Passes faults on to all that write them; those before `write_to` wait for it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Take what tells the user."""
        self.say = say
        self.writers: tuple[FaultWriter, ...] = ()
        self.waiting: list[tuple[str, str]] = []
        """Kind and message."""

    def write_to(self, *writers: FaultWriter) -> None:
        """Have these write the faults so far and those to come."""
        self.writers = writers
        waiting, self.waiting = self.waiting, []
        for kind, message in waiting:
            self.record(kind, message)

    def report(self, kind: str, message: str) -> None:
        """Tell the user, and record it."""
        self.say(message)
        self.record(kind, message)

    def record(self, kind: str, message: str) -> None:
        """Have it written."""
        if not self.writers:
            self.waiting.append((kind, message))
        for write in self.writers:
            write(kind, message)
