"""Run all slots sequentially in this process, without Ray: the same loop for a debugger."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import LateError, RunError
from distpg.iteration import EVALUATING, Collection, Evaluation, ProcessFaults
from distpg.policy.agent import Agent
from distpg.policy.behaviour import BehaviourPolicy
from distpg.policy.operations import use_one_thread
from distpg.records import Rollout, Weights
from distpg.rollout.attributes import NOTHING, EnvAttributes
from distpg.rollout.closing import close_slots
from distpg.rollout.evaluation import Evaluator
from distpg.rollout.slot_state import SlotState
from distpg.rollout.worker import RolloutWorker
from distpg.signals import deadline


@contextmanager
def in_time(doing: str, timeout_s: float) -> Generator[None]:
    """Context manager: interrupt environments of this process that hang.

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


def evaluate_in_time(
    evaluator: Evaluator,
    weights: Weights,
    stopped: Callable[[], bool],
    timeout_s: float,
    attributes: Mapping[str, Any] = NOTHING,
) -> Evaluation | None:
    """Run evaluation episodes on one torch thread; return None if stopped.

    Raises:
        RunError: they did not end in time.
    """
    torch.set_num_threads(1)
    with in_time(EVALUATING, timeout_s):
        evaluation = evaluator.begin(weights, attributes)
        while evaluation is None and not stopped():
            evaluation = evaluator.advance()
        return evaluation


@dataclass
class CompletedRollouts:
    """Rollouts that are collected already."""

    collection: Collection
    workers: "InProcessWorkers | None" = None
    states: Sequence[SlotState | None] = ()
    """The slots after the rollouts, for the workers that collected them."""

    def result(self) -> Collection:
        """Return them."""
        if self.workers:
            self.workers.stood = list(self.states)
        return self.collection

    def drop(self) -> Collection:
        """Return them to be counted only; the slots stand where they stood before."""
        return self.collection


class InProcessWorkers:
    """Collects the rollouts of the slots one after the other."""

    def __init__(
        self,
        config: Config,
        source: EnvSource,
        states: Sequence[SlotState | None] = (),
        attributes: EnvAttributes | None = None,
        *,
        make_behaviour: Callable[[Agent, np.ndarray], BehaviourPolicy] | None = None,
    ) -> None:
        """Make a rollout worker for each slot, from its state if there is one.

        The attributes may change while the run goes on.
        """
        use_one_thread()
        self.attributes = attributes or EnvAttributes()
        self.timeout_s = config.phase_timeout
        self.stood = list(states) or [None] * config.slots
        self.slots: list[RolloutWorker] = []
        self.evaluator: Evaluator | None = None
        with ExitStack() as failed:
            failed.callback(self.close)
            for slot, state in enumerate(self.stood):
                self.slots.append(
                    RolloutWorker(config, source, slot, state=state, make_behaviour=make_behaviour)
                )
            if config.eval_every:
                self.evaluator = Evaluator(config, source)
            failed.pop_all()
        of_episodes = " whole episodes (one may have no end)" * bool(config.episodes)
        self.collecting = f"collecting{of_episodes}"

    def collect(self, weights: Weights, iteration: int) -> CompletedRollouts:
        """Collect a rollout of every slot, on one torch thread as a worker process does."""
        torch.set_num_threads(1)
        with in_time(self.collecting, self.timeout_s):
            values = self.attributes.at(iteration)
            collected = [slot.collect(weights, iteration, values) for slot in self.slots]
        rollouts: Sequence[Rollout] = [slot.rollout for slot in collected]
        collection = Collection(rollouts, [[slot.stats for slot in collected]])
        return CompletedRollouts(collection, self, [slot.state for slot in collected])

    def states(self) -> list[SlotState | None]:
        """Return where all slots stood after the last rollouts that were waited for."""
        return self.stood

    def fetch(self, rollouts: Sequence[Rollout]) -> Sequence[Rollout]:
        """Return rollouts, which are in this process."""
        return rollouts

    def evaluate(self, weights: Weights, stopped: Callable[[], bool]) -> Evaluation | None:
        """Run evaluation episodes, until stopped."""
        assert self.evaluator is not None, "evaluation is off"
        values = self.attributes.evaluation
        return evaluate_in_time(self.evaluator, weights, stopped, self.timeout_s, values)

    def faults(self) -> ProcessFaults:
        """Count no restarts: this process is the run's own."""
        return ProcessFaults()

    def close(self, *, hurry: bool = False) -> list[str]:
        """Close the envs; return those that did not close in time."""
        return close_slots({slot.slot: slot.envs for slot in self.slots}, self.evaluator)
