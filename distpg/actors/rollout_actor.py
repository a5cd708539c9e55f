"""A rollout worker process: a thin shell around one or more slots.

The driver sees this class too, so what needs torch is imported in the worker's process alone.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from distpg.actors.counting import counting
from distpg.actors.process import Located
from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.records import RolloutStats, Weights
from distpg.rollout.slot_state import SlotState

if TYPE_CHECKING:
    from distpg.rollout.worker import RolloutWorker


class Hosted(NamedTuple):
    """A slot that a worker is to host, and where its state is among the lists that come along."""

    slot: int
    incarnation: int
    number: int = -1
    """Of the list; negative for a slot that begins."""
    position: int = 0


class Answer(NamedTuple):
    """What a worker tells the driver of its rollouts."""

    stats: Sequence[RolloutStats]
    exposes_state: bool
    """Whether the environment does."""


class RolloutActor(Located):
    """Hosts slots; computes each exactly as it would be computed anywhere else."""

    def __init__(self, config: Config, source: EnvSource) -> None:
        """Host none; nothing that takes long is imported yet."""
        self.config = config
        self.source = source
        self.slots: dict[int, RolloutWorker] = {}
        self.has_collected = False

    def host(self, slots: Sequence[Hosted], *states: Sequence[SlotState | None]) -> None:
        """Make slots, each from its state if it has one, in place of those that are here."""
        from distpg.policy.operations import use_one_thread
        from distpg.rollout.worker import RolloutWorker

        # for environments that import torch; Ray leaves a value that the user has set
        os.environ["OMP_NUM_THREADS"] = "1"
        use_one_thread()
        self.drop([hosted.slot for hosted in slots])
        for slot, incarnation, number, position in slots:
            state = states[number][position] if number >= 0 else None
            self.slots[slot] = RolloutWorker(
                self.config, self.source, slot, incarnation=incarnation, state=state
            )
        # an environment's module may have imported torch before
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)

    def drop(self, slots: Sequence[int]) -> None:
        """Close the envs of slots that are hosted elsewhere."""
        for slot in slots:
            if slot in self.slots:
                self.slots.pop(slot).envs.close()

    def collect(
        self,
        weights: Weights,
        iteration: int,
        attributes: Mapping[str, Any],
        slots: Sequence[int],
    ) -> list[Any]:
        """Collect: a rollout of each of some slots, then their states, then the answer."""
        first, self.has_collected = not self.has_collected, True
        with counting(self.steps_done) if first else nullcontext():
            collected = [self.slots[x].collect(weights, iteration, attributes) for x in slots]
        states = [slot.state for slot in collected]
        answer = Answer([slot.stats for slot in collected], None not in states)
        return [*(slot.rollout for slot in collected), states, answer]

    def advance(
        self,
        weights: Weights,
        iteration: int,
        attributes: Mapping[str, Any],
        slots: Sequence[int],
    ) -> None:
        """Repeat the rollouts of some slots, of which nothing but the slots is needed."""
        for slot in slots:
            self.slots[slot].collect(weights, iteration, attributes)

    def states(self, slots: Sequence[int]) -> list[SlotState | None]:
        """Return where some slots stand."""
        return [self.slots[slot].state() for slot in slots]

    def steps_done(self) -> int:
        """Count the env steps of all slots so far."""
        return sum(slot.envs.steps_done for slot in self.slots.values())

    def close(self) -> list[str]:
        """Close the envs, which may have processes; return those that did not close in time."""
        from distpg.rollout.closing import close_slots

        return close_slots({number: slot.envs for number, slot in self.slots.items()})

    def ready(self) -> bool:
        """Answer, if it is not busy."""
        return True
