"""Rollout workers as actors: one that dies or hangs is replaced, and its slots are played again."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from distpg.actors.rollout_actor import RolloutActor
from distpg.actors.wait import ATTEMPTS, fetch, wait
from distpg.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import ProcessLostError
from distpg.phases import Collection
from distpg.records import Evaluation, RolloutStats
from distpg.snapshot import SlotState


@dataclass
class Playing:
    """Rollouts that workers were asked for."""

    workers: "RayWorkers"
    asked: list[list[Any]]
    """Of each worker, references to its rollouts, its slots' states, and what it tells of them."""
    weights: Any
    iteration: int

    def result(self) -> Collection:
        """Wait for them."""
        # the workers' deadline starts when there are weights to play with
        timeout_s = self.workers.config.phase_timeout
        wait([self.weights], ["the learner"], doing="handing out weights", timeout_s=timeout_s)
        began = time.monotonic()
        rollouts: dict[int, Any] = {}
        by_worker: list[list[RolloutStats]] = []
        for worker, refs in enumerate(self.asked):
            *refs, states, told = self.workers.answer(
                worker, refs, self.weights, self.iteration, began
            )
            self.workers.snapshots[worker] = states
            rollouts |= zip(self.workers.shares[worker], refs, strict=True)
            by_worker.append(told)
        return Collection([rollouts[slot] for slot in sorted(rollouts)], by_worker)


class RayWorkers:
    """Rollout workers, each a process that hosts a fixed share of the slots.

    One that dies or hangs is replaced, and its slots are played again from where they stood; where
    the environment does not tell that, with freshly seeded envs.
    """

    def __init__(
        self, config: Config, source: EnvSource, states: Sequence[SlotState | None] = ()
    ) -> None:
        """Start the processes, slots in their states if given; `wait_until_ready` waits."""
        self.config = config
        self.source = source
        self.shares = [
            list(range(worker, config.slots, config.num_workers))
            for worker in range(config.num_workers)
        ]
        self.names = [
            f"rollout worker {worker} (slots {', '.join(map(str, share))})"
            for worker, share in enumerate(self.shares)
        ]
        self.restarts = 0
        """How many workers were replaced."""
        slots = list(states) or [None] * config.slots
        self.incarnations = [state.incarnation if state else 0 for state in slots]
        self.snapshots: list[Any] = [
            ray.put([slots[slot] for slot in share]) for share in self.shares
        ]
        """Of each worker, a reference to its slots' states after the last rollouts."""
        self.actors = [self._start(worker) for worker in range(config.num_workers)]

    def _start(self, worker: int) -> Any:
        remote = ray.remote(num_cpus=1)(RolloutActor)
        incarnations = [self.incarnations[slot] for slot in self.shares[worker]]
        return remote.remote(
            self.config, self.source, self.shares[worker], incarnations, self.snapshots[worker]
        )

    def _replace(self, worker: int, iteration: int) -> None:
        """Start a worker anew, its slots where they stood or else with envs seeded afresh."""
        ray.kill(self.actors[worker])
        self.restarts += 1
        for slot, state in zip(self.shares[worker], self.states_of(worker), strict=True):
            # what starts from a reset is seeded by its iteration, and comes out the same
            if state is None and iteration and not self.config.episodes:
                self.incarnations[slot] += 1
        self.actors[worker] = self._start(worker)

    def states_of(self, worker: int) -> list[SlotState | None]:
        """Fetch where a worker's slots stood after the last rollouts that were waited for."""
        return fetch(
            [self.snapshots[worker]],
            [self.names[worker]],
            doing="handing out its slots' states",
            timeout_s=self.config.phase_timeout,
        )[0]

    def states(self) -> list[SlotState | None]:
        """Fetch where all slots stood, in slot order."""
        found: dict[int, SlotState | None] = {}
        for worker, share in enumerate(self.shares):
            found |= zip(share, self.states_of(worker), strict=True)
        return [found[slot] for slot in sorted(found)]

    def wait_until_ready(self) -> None:
        """Wait until every worker has made its environments."""
        refs = [actor.ready.remote() for actor in self.actors]
        fetch(refs, self.names, doing="starting", timeout_s=self.config.phase_timeout)

    def collect(self, weights: Any, iteration: int) -> "Playing":
        """Have every slot played with the weights that a reference stands for."""
        asked = [self.ask(worker, weights, iteration) for worker in range(len(self.actors))]
        return Playing(self, asked, weights, iteration)

    def ask(self, worker: int, weights: Any, iteration: int) -> list[Any]:
        """Return references to a worker's rollouts, states, and what it tells of them."""
        call = self.actors[worker].collect.options(num_returns=len(self.shares[worker]) + 2)
        return call.remote(weights, iteration)

    def answer(
        self, worker: int, refs: list[Any], weights: Any, iteration: int, began: float
    ) -> list[Any]:
        """Wait for a worker's rollouts; return references to them and states, and what it told."""
        for left in reversed(range(ATTEMPTS)):
            try:
                (told,) = fetch(
                    refs[-1:],
                    [self.names[worker]],
                    doing=f"playing iteration {iteration}",
                    timeout_s=self.config.phase_timeout,
                    began=began,
                )
            except ProcessLostError:
                if not left:
                    raise
                self._replace(worker, iteration)
                refs = self.ask(worker, weights, iteration)
                began = time.monotonic()
            else:
                return [*refs[:-1], told]
        raise AssertionError("the last attempt returns or raises")

    def evaluate(self, weights: Any) -> Evaluation:
        """Have the first worker play evaluation episodes."""
        ref = self.actors[0].evaluate.remote(weights)
        return fetch(
            [ref], self.names[:1], doing="evaluating", timeout_s=self.config.phase_timeout
        )[0]

    def close(self) -> None:
        """End the processes."""
        for actor in self.actors:
            ray.kill(actor)
