"""How often processes may be replaced before a run gives up."""

import time
from collections.abc import Callable
from typing import TypeVar

import ray

from distpg.actors import head
from distpg.errors import ProcessLostError, RunError
from distpg.report.fault_events import FaultEvents

IN_A_ROW = 3
"""Processes that may be lost one after the other over the same work."""
GRACE_S = 20.0
"""What Ray has to find out that the node of a lost process is lost, too."""
POLL_S = 0.2
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
        self.doubtful: list[tuple[str, float]] = []
        """Failures that may turn out to be those of their nodes: the node's id, and when."""

    def retry(
        self,
        attempt: Callable[[], Result],
        replace: Callable[[], None],
        node: Callable[[], str] = lambda: "",
    ) -> Result:
        """Try until it succeeds, replacing the process each time that it is lost.

        Raises:
            RunError: it was lost once too often; the message quotes the last loss.
        """
        in_a_row = 0
        while True:
            try:
                return attempt()
            except ProcessLostError as error:
                in_a_row += self.count(error, node())
                self.check_in_a_row(in_a_row, error)
                replace()

    def count(self, error: ProcessLostError, node: str) -> int:
        """Count the loss of a process on a node; return 1 if it failed, 0 if its node was lost.

        Raises:
            RunError: more processes failed than are allowed.
        """
        with_its_node = error.with_its_node or is_lost(node)
        if not with_its_node and self.failed >= self.allowed:
            with_its_node = self._wait_for(node)
        if with_its_node:
            self.faults.report("lost_with_node", f"{error}; starting a replacement")
            self.lost_with_node += 1
            return 0
        self.faults.report("restarts", f"{error}; starting a replacement")
        self.failed += 1
        if self.failed > self.allowed:
            raise RunError(
                f"processes were lost {self.failed} times, more than --max-restarts "
                f"{self.allowed}; the last: {error}"
            )
        self.doubtful.append((node, time.monotonic()))
        return 1

    def check_in_a_row(self, number: int, error: ProcessLostError) -> None:
        """Check how many processes failed over the same work.

        Raises:
            RunError: too many.
        """
        if number >= IN_A_ROW:
            raise RunError(f"lost {IN_A_ROW} processes in a row: {error}") from error

    def settle(self) -> None:
        """Count failures whose nodes have turned out to be lost as those of the nodes."""
        if not self.doubtful:
            return
        lost = lost_nodes()
        for node, when in [*self.doubtful]:
            if node in lost:
                self.failed -= 1
                self.lost_with_node += 1
                self.faults.report("lost_with_node", "a process that failed was lost with its node")
            if node in lost or time.monotonic() > when + GRACE_S:
                self.doubtful.remove((node, when))

    def _wait_for(self, node: str) -> bool:
        """Wait for Ray to find out whether a node is lost; that of this process is not."""
        may_be = bool(node) and node != ray.get_runtime_context().get_node_id()
        end = time.monotonic() + GRACE_S * may_be
        while not (lost := is_lost(node)) and time.monotonic() < end:
            time.sleep(POLL_S)
        return lost


def lost_nodes() -> set[str]:
    """Return the ids of the nodes that Ray has lost."""
    head.reach()
    return {node["NodeID"] for node in ray.nodes() if not node["Alive"]}


def is_lost(node: str) -> bool:
    """Return whether Ray has lost a node; not if its id is unknown, which is empty."""
    return bool(node) and node in lost_nodes()
