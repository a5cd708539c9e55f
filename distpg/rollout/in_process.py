"""Run all slots sequentially in this process, without Ray: the same loop for a debugger."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import InputError, LateError, RunError
from distpg.iteration import EVALUATING, Collection, Evaluation, ProcessFaults
from distpg.policy.agent import Agent
from distpg.policy.behaviour import BehaviourPolicy
from distpg.policy.operations import use_one_thread
from distpg.records import Rollout, Weights
from distpg.rollout.attributes import EnvAttributes
from distpg.rollout.clip import EncodedClip
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


@dataclass(frozen=True)
class LaterEvaluation:
    """An evaluation in this process, which is played when its result is asked for."""

    evaluator: Evaluator
    weights: Weights
    attributes: Mapping[str, Any]
    timeout_s: float

    def result(self, stopped: Callable[[], bool]) -> Evaluation | None:
        """Play the episodes on one torch thread; return None if stopped.

        Raises:
            RunError: they did not end in time.
        """
        torch.set_num_threads(1)
        with in_time(EVALUATING, self.timeout_s):
            evaluation = self.evaluator.begin(self.weights, self.attributes)
            while evaluation is None and not stopped():
                evaluation = self.evaluator.advance()
            return evaluation


@dataclass(frozen=True)
class CompletedClip:
    """A clip that is played already, or could not be."""

    clip: EncodedClip | RunError | InputError

    def is_done(self) -> bool:
        """Return True."""
        return True

    def result(self) -> EncodedClip:
        """Return it.

        Raises:
            InputError, RunError: it could not be played.
        """
        if isinstance(self.clip, Exception):
            raise self.clip
        return self.clip


def play_in_process(
    config: Config, source: EnvSource, weights: Weights, attributes: Mapping[str, Any]
) -> CompletedClip:
    """Play an episode for a clip, on one torch thread."""
    from distpg.rollout.clipper import Clipper

    torch.set_num_threads(1)
    try:
        with in_time("playing a clip", config.phase_timeout):
            return CompletedClip(Clipper(config, source).clip(weights, attributes))
    except (InputError, RunError) as error:
        return CompletedClip(error)


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
        self.config = config
        self.source = source
        self.timeout_s = config.phase_timeout
        self.stood = list(states) or [None] * config.slots
        self.slots: list[RolloutWorker] = []
        self.evaluator: Evaluator | None = None
        self.has_collected = False
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
        self.has_collected = True
        rollouts: Sequence[Rollout] = [slot.rollout for slot in collected]
        collection = Collection(rollouts, [[slot.stats for slot in collected]])
        return CompletedRollouts(collection, self, [slot.state for slot in collected])

    def states(self) -> list[SlotState | None]:
        """Return where all slots stood after the last rollouts that were waited for."""
        return self.stood

    def fetch(self, rollouts: Sequence[Rollout]) -> Sequence[Rollout]:
        """Return rollouts, which are in this process."""
        return rollouts

    def evaluate(self, weights: Weights, attributes: Mapping[str, Any]) -> LaterEvaluation:
        """Plan to evaluate a policy."""
        self.evaluator = self.evaluator or Evaluator(self.config, self.source)
        return LaterEvaluation(self.evaluator, weights, attributes, self.timeout_s)

    def alive(self) -> None:
        """Return None: there is no worker process."""

    def first_steps(self) -> int | None:
        """Return the env steps of the first rollouts so far, or None once they are complete."""
        return None if self.has_collected else sum(slot.envs.steps_done for slot in self.slots)

    def clip(self, weights: Weights, attributes: Mapping[str, Any]) -> CompletedClip:
        """Play an episode for a clip."""
        return play_in_process(self.config, self.source, weights, attributes)

    def faults(self) -> ProcessFaults:
        """Count no restarts: this process is the run's own."""
        return ProcessFaults()

    def close(self, *, hurry: bool = False) -> list[str]:
        """Close the envs; return those that did not close in time."""
        late = close_slots({slot.slot: slot.envs for slot in self.slots})
        return [*late, *(self.evaluator.close() if self.evaluator else [])]
