"""Rollout workers as actors: one that dies or hangs is replaced, and its slots are played again."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.exceptions import ObjectLostError as RayObjectLostError

from distpg.actors.cluster import cpus_left
from distpg.actors.restarts import Restarts
from distpg.actors.rollout_actor import RolloutActor
from distpg.actors.wait import fetch, wait
from distpg.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import ObjectLostError, ProcessLostError
from distpg.phases import Collection
from distpg.records import Evaluation, Rollout, RolloutStats
from distpg.snapshot import SlotState

CLOSE_S = 1.0
"""How long envs are waited for at the end of a run."""


@dataclass(frozen=True)
class Asked:
    """Of one worker, references to its rollouts, its slots' states, and what it tells of them."""

    actor: Any
    refs: list[Any]


@dataclass
class Playing:
    """Rollouts that workers were asked for."""

    workers: "RayWorkers"
    asked: list[Asked]
    weights: Any
    iteration: int
    before: list[Any] = field(default_factory=list[Any])
    """Of each worker, a reference to its slots' states before these rollouts."""
    told: list[list[RolloutStats]] = field(default_factory=list[list[RolloutStats]])
    """What each worker told of them; of those that are played again, what it tells then."""

    def result(self) -> Collection:
        """Wait for them."""
        # the workers' deadline starts when there are weights to play with
        timeout_s = self.workers.config.phase_timeout
        wait([self.weights], ["the learner"], doing="handing out weights", timeout_s=timeout_s)
        began = time.monotonic()
        self.before = [*self.workers.snapshots]
        rollouts: dict[int, Any] = {}
        by_worker: list[list[RolloutStats]] = []
        for worker, asked in enumerate(self.asked):
            refs, told = self.workers.answer(worker, asked, self.weights, self.iteration, began)
            rollouts |= zip(self.workers.shares[worker], refs, strict=True)
            by_worker.append(told)
        self.workers.played = self
        self.told = by_worker
        return Collection([rollouts[slot] for slot in sorted(rollouts)], by_worker).checked()

    def drop(self) -> Collection:
        """Wait for them to be counted; the slots count as standing where they stood before."""
        stood = [*self.workers.snapshots]
        try:
            return self.result()
        finally:
            self.workers.snapshots = stood


class RayWorkers:
    """Rollout workers, each a process that hosts a fixed share of the slots.

    One that dies or hangs is replaced, and its slots are played again from where they stood; where
    the environment does not tell that, with freshly seeded envs.
    """

    def __init__(
        self,
        config: Config,
        source: EnvSource,
        restarts: Restarts,
        states: Sequence[SlotState | None] = (),
    ) -> None:
        """Start the processes, slots in their states if given; `wait_until_ready` waits."""
        self.config = config
        self.source = source
        self.lost = restarts
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
        self.reissued = 0
        """How many slots were played again."""
        self.played: Playing | None = None
        """The last rollouts that were waited for."""
        slots = list(states) or [None] * config.slots
        self.incarnations = [state.incarnation if state else 0 for state in slots]
        self.snapshots: list[Any] = [
            ray.put([slots[slot] for slot in share]) for share in self.shares
        ]
        """Of each worker, a reference to its slots' states after the last rollouts."""
        self.actors = [self._start(worker) for worker in range(config.num_workers)]

    @property
    def lost_with_node(self) -> int:
        """How often processes, or what they had made, were lost with their machine."""
        return self.lost.lost_with_node

    def _start(self, worker: int, num_cpus: int = 1) -> Any:
        remote = ray.remote(num_cpus=num_cpus)(RolloutActor)
        incarnations = [self.incarnations[slot] for slot in self.shares[worker]]
        return remote.remote(
            self.config, self.source, self.shares[worker], incarnations, self.snapshots[worker]
        )

    def _replace(self, worker: int) -> None:
        """Start a worker anew, its slots where they stood or else with envs seeded afresh."""
        ray.kill(self.actors[worker])
        self.restarts += 1
        try:
            states = self.states_of(worker)
        except ObjectLostError:
            states = [None] * len(self.shares[worker])
            self.snapshots[worker] = ray.put(states)
        for slot, state in zip(self.shares[worker], states, strict=True):
            # what starts from a reset is seeded by its iteration, and comes out the same
            if state is None and self.played and not self.config.episodes:
                self.incarnations[slot] += 1
                self.lost.say(f"slot {slot} starts afresh: incarnation {self.incarnations[slot]}")
        self.actors[worker] = self._start(worker, cpus_left(self.config))

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
            try:
                states = self.states_of(worker)
            except ObjectLostError:
                states = [None] * len(share)
            found |= zip(share, states, strict=True)
        return [found[slot] for slot in sorted(found)]

    def wait_until_ready(self) -> None:
        """Wait until every worker has made its environments."""
        began, timeout_s = time.monotonic(), self.config.phase_timeout
        ready = [actor.ready.remote() for actor in self.actors]
        for worker, ref in enumerate(ready):
            in_a_row, name = 0, [self.names[worker]]
            while True:
                try:
                    fetch([ref], name, doing="starting", timeout_s=timeout_s, began=began)
                    break
                except ProcessLostError as error:
                    in_a_row = self.lost.count(error, in_a_row)
                    self._replace(worker)
                    ref, began = self.actors[worker].ready.remote(), time.monotonic()

    def collect(self, weights: Any, iteration: int) -> Playing:
        """Have every slot played with the weights that a reference stands for."""
        asked = [self.ask(worker, weights, iteration) for worker in range(len(self.actors))]
        return Playing(self, asked, weights, iteration)

    def ask(self, worker: int, weights: Any, iteration: int) -> Asked:
        """Have a worker play its slots."""
        actor = self.actors[worker]
        call = actor.collect.options(num_returns=len(self.shares[worker]) + 2)
        return Asked(actor, call.remote(weights, iteration))

    def answer(
        self, worker: int, asked: Asked, weights: Any, iteration: int, began: float
    ) -> tuple[list[Any], list[RolloutStats]]:
        """Wait for a worker; return references to its rollouts, and what it told of them."""
        in_a_row = 0
        while True:
            *rollouts, states, told = asked.refs
            try:
                (stats,) = fetch(
                    [told],
                    [self.names[worker]],
                    doing=f"playing iteration {iteration}",
                    timeout_s=self.config.phase_timeout,
                    began=began,
                )
            except ProcessLostError as error:
                # it may have been replaced in the meantime
                if asked.actor is self.actors[worker]:
                    in_a_row = self.lost.count(error, in_a_row)
                    self._replace(worker)
                self.reissued += len(self.shares[worker])
                asked, began = self.ask(worker, weights, iteration), time.monotonic()
            else:
                # to this machine, where the worker's may be lost
                ray.wait([states], timeout=self.config.phase_timeout)
                self.snapshots[worker] = states
                return rollouts, stats

    def fetch(self, rollouts: Sequence[Any]) -> list[Rollout]:
        """Fetch rollouts by their references."""
        return fetch(
            rollouts,
            ["a rollout worker"] * len(rollouts),
            doing="playing",
            timeout_s=self.config.phase_timeout,
        )

    def replay(self, rollouts: Sequence[Any]) -> list[Any]:
        """Have those of the last rollouts played again that were lost with a machine.

        Raises:
            ObjectLostError: none was.
        """
        assert self.played is not None, "rollouts are of a collection"
        last, found = self.played, dict(enumerate(rollouts))
        gone = [worker for worker, share in enumerate(self.shares) if self._lost(found, share)]
        if not gone:
            raise ObjectLostError("what the learner needed was lost with a machine")
        again = ", ".join(str(slot) for worker in gone for slot in self.shares[worker])
        for worker in gone:
            self.snapshots[worker] = last.before[worker]
            self._replace(worker)
            asked = self.ask(worker, last.weights, last.iteration)
            now = time.monotonic()
            refs, last.told[worker] = self.answer(worker, asked, last.weights, last.iteration, now)
            found |= zip(self.shares[worker], refs, strict=True)
            self.reissued += len(refs)
        self.lost.lost_with_node += 1
        self.lost.say(f"rollouts were lost with a machine, and played again: slots {again}")
        return [found[slot] for slot in sorted(found)]

    def _lost(self, rollouts: Mapping[int, Any], share: Sequence[int]) -> bool:
        try:
            ray.get([rollouts[slot] for slot in share], timeout=self.config.phase_timeout)
        except (RayObjectLostError, GetTimeoutError):
            return True
        return False

    def evaluate(self, weights: Any) -> Evaluation:
        """Have the first worker play evaluation episodes."""
        in_a_row = 0
        while True:
            ref = self.actors[0].evaluate.remote(weights)
            try:
                return fetch(
                    [ref], self.names[:1], doing="evaluating", timeout_s=self.config.phase_timeout
                )[0]
            except ProcessLostError as error:
                in_a_row = self.lost.count(error, in_a_row)
                self._replace(0)

    def close(self) -> None:
        """Have the envs closed, which may have processes of their own; end the processes."""
        closed = [actor.close.remote() for actor in self.actors]
        ray.wait(closed, num_returns=len(closed), timeout=CLOSE_S)
        for actor in self.actors:
            ray.kill(actor)
