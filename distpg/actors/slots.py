"""Where the slots of a run stand, and how a worker gets them there."""

from collections.abc import Callable, Sequence
from typing import Any

import ray

from distpg.actors.process import Process
from distpg.actors.recovery import Point, Saved
from distpg.actors.rollout_actor import Hosted
from distpg.config.config import Config
from distpg.errors import RunError
from distpg.rollout.attributes import EnvAttributes
from distpg.rollout.slot_state import SlotState

START = -1
"""Stands for the first iteration of a run, which may be resumed, before it is known."""
NOWHERE = -2
"""Stands for no iteration."""


class Slots:
    """States of slots, as references, and the processes that host them.

    A worker that is given a slot makes it from its last state. If that was lost with a node, it
    makes it from the last copy, and repeats the rollouts since then. If the environment does not
    expose its state, the slot restarts with freshly seeded envs.
    """

    def __init__(
        self,
        config: Config,
        states: Sequence[SlotState | None],
        attributes: EnvAttributes,
        say: Callable[[str], None],
    ) -> None:
        """Take the states of all slots, none for those that begin."""
        self.config = config
        self.attributes = attributes
        self.say = say
        slots = [*states] or [None] * config.slots
        self.incarnations = [state.incarnation if state else 0 for state in slots]
        begun = ray.put(slots) if states else None
        self.points = [Point(START, begun, slot) for slot in range(config.slots)]
        """Where each slot stood after the last rollouts that were waited for."""
        self.saved: Sequence[Point] = self.points
        """Where each stood at the last copy to this node."""
        self.weights: dict[int, Any] = {}
        """By iteration, references to what the rollouts since then were collected with."""
        self.stands: dict[int, tuple[Process, int]] = {}
        """Who hosts a slot, and before which iteration the slot is there."""
        self.next_iteration = START
        """The iteration after the last rollouts that were waited for."""
        self.exposes_state: bool | None = None
        """Whether the environment does, once it is known."""

    def begin(self, iteration: int) -> None:
        """Give the first iteration its number."""
        self.points = [point._replace(iteration=iteration) for point in self.points]
        self.saved = [point._replace(iteration=iteration) for point in self.saved]
        self.stands = {slot: (process, iteration) for slot, (process, _) in self.stands.items()}
        self.next_iteration = iteration

    def open(self, process: Process, slots: Sequence[int]) -> Any:
        """Have a process make slots before the first iteration; return a reference to the call."""
        self.stands |= dict.fromkeys(slots, (process, START))
        return self._host(process, slots)

    def bring(
        self, process: Process, slots: Sequence[int], iteration: int
    ) -> tuple[list[Any], int]:
        """Have a process host slots as they stand before an iteration.

        Returns:
            References to the calls, and the number of rollouts that it repeats.
        """
        absent = [slot for slot in slots if self.stands.get(slot) != (process, iteration)]
        if not absent:
            return [], 0
        for slot in absent:
            host, _ = self.stands.get(slot, (process, iteration))
            if host is not process:
                host.actor.drop.remote([slot])
        calls, repeated = [self._host(process, absent)], 0
        self.stands |= dict.fromkeys(absent, (process, iteration))
        if self.config.episodes:
            return calls, repeated
        for earlier in range(min(self.points[slot].iteration for slot in absent), iteration):
            behind = [slot for slot in absent if self.points[slot].iteration <= earlier]
            repeated += len(behind)
            arguments = self.weights[earlier], earlier, self.attributes.at(earlier), behind
            calls.append(process.actor.advance.remote(*arguments))
        return calls, repeated

    def _host(self, process: Process, slots: Sequence[int]) -> Any:
        """Have a process make slots from where they stood; return a reference to the call."""
        for slot in slots:
            # what starts from a reset is seeded by its iteration, and comes out the same
            if self.exposes_state is False and not self.config.episodes:
                self._restart(slot)
        points = [self.points[slot] for slot in slots]
        lists = [*dict.fromkeys(point.states for point in points if point.states is not None)]
        hosted = [
            Hosted(
                slot,
                self.incarnations[slot],
                -1 if point.states is None else lists.index(point.states),
                point.position,
            )
            for slot, point in zip(slots, points, strict=True)
        ]
        return process.actor.host.remote(hosted, *lists)

    def _restart(self, slot: int) -> None:
        """Have a slot go on with fresh envs."""
        self._put(slot, Point(self.next_iteration, None))
        self.incarnations[slot] += 1
        incarnation = self.incarnations[slot]
        self.say(f"slot {slot} restarts with fresh envs: incarnation {incarnation}")

    def _put(self, slot: int, point: Point) -> None:
        # those who keep the points of an earlier moment keep the list
        self.points = [*self.points]
        self.points[slot] = point

    def moved_on(self, slots: Sequence[int], states: Any, iteration: int) -> None:
        """Take a reference to the states of slots before an iteration."""
        self.points = [*self.points]
        for position, slot in enumerate(slots):
            self.points[slot] = Point(iteration, states, position)

    def fall_back(self, slots: Sequence[int]) -> None:
        """Have slots whose states are lost go on from the last copy.

        Raises:
            RunError: that is lost, too.
        """
        for slot in slots:
            if self.points[slot] == self.saved[slot]:
                raise RunError(f"what slot {slot} could go on from is lost; resume the run")
            self._put(slot, self.saved[slot])
            self._leave(slot)

    def _leave(self, slot: int) -> None:
        """Note that whoever hosts a slot has it at no moment that is of use."""
        if slot in self.stands:
            process, _ = self.stands[slot]
            self.stands[slot] = process, NOWHERE

    def move_back(self, slots: Sequence[int], points: Sequence[Point]) -> None:
        """Have slots go on from an earlier moment, given the points of all."""
        for slot in slots:
            self._leave(slot)
            self._put(slot, points[slot])

    def keep(self, saved: Saved) -> None:
        """Take a copy, from which lost slots go on; what led to it is not needed any more."""
        self.saved = saved.points
        self.weights = {k: ref for k, ref in self.weights.items() if k >= saved.iteration}

    def repeatable(self) -> bool:
        """Return whether slots can collect again, bit for bit, from an earlier state."""
        return bool(self.config.episodes or self.exposes_state)
