"""All slots in this process, one after the other: the same loop for a debugger, without Ray."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from distpg.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import LateError, RunError
from distpg.evaluation import Evaluator
from distpg.phases import Collection
from distpg.records import Evaluation, Rollout, Weights
from distpg.rollout import RolloutWorker
from distpg.signals import deadline
from distpg.snapshot import SlotState


@contextmanager
def in_time(doing: str, timeout_s: float) -> Generator[None]:
    """Interrupt environments of this process that hang, which no other can do.

    Raises:
        RunError: they did.
    """
    try:
        with deadline(timeout_s):
            yield
    except LateError:
        raise RunError(
            f"{doing} did not end within --phase-timeout {timeout_s:g} s, and nothing can replace "
            "environments in the run's own process (with --num-workers 0, all of them)"
        ) from None


@dataclass
class Played:
    """Rollouts that are there already."""

    workers: "InProcessWorkers"
    collection: Collection
    states: list[SlotState | None]

    def result(self) -> Collection:
        """Return them."""
        self.workers.stood = self.states
        return self.collection.checked()

    def drop(self) -> Collection:
        """Return them to be counted; the slots count as standing where they stood before."""
        return self.collection


class InProcessWorkers:
    """Plays the slots in turn."""

    def __init__(
        self, config: Config, source: EnvSource, states: Sequence[SlotState | None] = ()
    ) -> None:
        """Make a rollout worker for each slot, from its state if there is one."""
        self.restarts = self.reissued = self.lost_with_node = 0
        self.timeout_s = config.phase_timeout
        self.stood = list(states) or [None] * config.slots
        self.slots = [
            RolloutWorker(config, source, slot, state=state)
            for slot, state in enumerate(self.stood)
        ]
        self.evaluator = Evaluator(config, source) if config.eval_every else None

    def collect(self, weights: Weights, iteration: int) -> Played:
        """Play every slot, on one torch thread as a worker process does."""
        torch.set_num_threads(1)
        with in_time("collecting", self.timeout_s):
            collected = [slot.collect(weights, iteration) for slot in self.slots]
        rollouts: Sequence[Rollout] = [slot.rollout for slot in collected]
        states = [slot.state for slot in collected]
        return Played(self, Collection(rollouts, [[slot.stats for slot in collected]]), states)

    def states(self) -> list[SlotState | None]:
        """Return where all slots stood after the last rollouts that were waited for."""
        return self.stood

    def fetch(self, rollouts: Sequence[Rollout]) -> Sequence[Rollout]:
        """Return rollouts, which are here."""
        return rollouts

    def evaluate(self, weights: Weights) -> Evaluation:
        """Play evaluation episodes."""
        assert self.evaluator is not None, "evaluation is off"
        torch.set_num_threads(1)
        with in_time("evaluating", self.timeout_s):
            return self.evaluator.evaluate(weights)

    def close(self) -> None:
        """Close the envs."""
        for owner in (*self.slots, *filter(None, [self.evaluator])):
            owner.envs.close()
