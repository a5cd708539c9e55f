"""How often processes may be replaced before a run gives up."""

from collections.abc import Callable
from typing import TypeVar

from distpg.errors import ProcessLostError, RunError
from distpg.report.fault_events import FaultEvents

IN_A_ROW = 3
"""Processes that may be lost one after the other over the same work."""
Result = TypeVar("Result")


class Restarts:
    """Counts lost workers and learners, those lost with a node apart."""

    def __init__(self, allowed: int, faults: FaultEvents) -> None:
        """Take how many failures of processes a run may have, and where to report them."""
        self.allowed = allowed
        self.faults = faults
        self.say = faults.say
        self.failed = 0
        self.lost_with_node = 0
        """Times that processes, or their results, were lost with a node."""

    def retry(self, attempt: Callable[[], Result], replace: Callable[[], None]) -> Result:
        """Try until it succeeds, replacing the process each time that it is lost.

        Raises:
            RunError: it was lost once too often; the message quotes the last loss.
        """
        in_a_row = 0
        while True:
            try:
                return attempt()
            except ProcessLostError as error:
                in_a_row += self._count(error)
                if in_a_row >= IN_A_ROW:
                    raise RunError(f"lost {IN_A_ROW} processes in a row: {error}") from error
                replace()

    def _count(self, error: ProcessLostError) -> int:
        """Count a loss; return 1 for a failure of the process, 0 if its node was lost."""
        kind = "lost_with_node" if error.with_its_node else "restarts"
        self.faults.report(kind, f"{error}; starting a replacement")
        if error.with_its_node:
            self.lost_with_node += 1
            return 0
        self.failed += 1
        if self.failed > self.allowed:
            raise RunError(
                f"processes were lost {self.failed} times, more than --max-restarts "
                f"{self.allowed}; the last: {error}"
            )
        return 1
