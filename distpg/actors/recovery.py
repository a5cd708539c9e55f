"""States of slots and learner from which a run can repeat what was lost with a node."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any, NamedTuple

from distpg.actors.wait import fetch
from distpg.errors import ObjectLostError, ProcessLostError, RunError


class Point(NamedTuple):
    """A slot before the rollouts of an iteration."""

    iteration: int
    states: Any
    """A reference to a list of states; None stands for a slot that has not begun."""
    position: int = 0
    """Which of them is the slot's."""


@dataclass(frozen=True)
class Saved:
    """A run before an iteration, copied to the node of the driver."""

    iteration: int
    learner: Any
    """A reference to the learner's state; None stands for the initial one."""
    points: Sequence[Point]
    """Of each slot."""
    values: Any = None
    """What the references stand for: Ray keeps copies that are in use."""

    def copied(self, timeout_s: float) -> "Saved | None":
        """Copy everything to this node; return None if something was lost on the way."""
        states = self.learner, *(point.states for point in self.points)
        refs = dict.fromkeys(ref for ref in states if ref is not None)
        names = ["a process"] * len(refs)
        try:
            values = fetch([*refs], names, doing="sending its state", timeout_s=timeout_s)
        except (ObjectLostError, ProcessLostError):
            return None
        return Saved(self.iteration, self.learner, self.points, values)


class Copying:
    """Copies in a thread, while training goes on."""

    def __init__(self, saved: Saved, timeout_s: float) -> None:
        """Begin."""
        self.result: Saved | None = None
        """The copy, once it is there."""

        def copy() -> None:
            # whoever waits for the head node tells that it is lost
            with suppress(RunError):
                self.result = saved.copied(timeout_s)

        self.thread = Thread(target=copy, name="recovery", daemon=True)
        self.thread.start()

    def is_over(self) -> bool:
        """Return whether the copy is there, or was lost on the way."""
        return not self.thread.is_alive()
