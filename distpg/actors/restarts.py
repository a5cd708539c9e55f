"""How often processes may be replaced before a run gives up."""

from collections.abc import Callable

from distpg.errors import ProcessLostError, RunError

IN_A_ROW = 3
"""Processes that may be lost one after the other over the same work."""


class Restarts:
    """Counts the workers and learners that were lost, those with their machine apart."""

    def __init__(self, allowed: int, say: Callable[[str], None]) -> None:
        """Take how many failures of processes a run may have, and whom to tell of them."""
        self.allowed = allowed
        self.say = say
        self.failed = 0
        self.lost_with_node = 0

    def count(self, error: ProcessLostError, in_a_row: int) -> int:
        """Count one more process that was lost over some work.

        Returns:
            How many now were in a row, not counting those that were lost with their machine.

        Raises:
            RunError: it was one too many; quotes the error.
        """
        self.say(f"{error}; another takes its place")
        if error.with_its_node:
            self.lost_with_node += 1
            return in_a_row
        self.failed += 1
        if self.failed > self.allowed:
            raise RunError(
                f"processes were lost {self.failed} times, more than --max-restarts "
                f"{self.allowed}; the last: {error}"
            )
        if in_a_row + 1 >= IN_A_ROW:
            raise RunError(f"lost {IN_A_ROW} processes in a row: {error}")
        return in_a_row + 1
