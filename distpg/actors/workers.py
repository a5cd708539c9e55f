"""Rollout workers as actors: one that dies or hangs is replaced, and its slots collect again."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.exceptions import ObjectLostError as RayObjectLostError

from distpg.actors.clips import RayClip, RayClips
from distpg.actors.closing import HURRY_S, close_envs
from distpg.actors.cluster import cpus_left
from distpg.actors.counting import Counts
from distpg.actors.evaluator import RayEvaluation, RayEvaluator
from distpg.actors.restarts import Restarts, Result
from distpg.actors.rollout_actor import RolloutActor
from distpg.actors.wait import MIN_START_S, fetch, wait
from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import InputError, ObjectLostError, ProcessLostError, RunError
from distpg.iteration import Collection, ProcessFaults
from distpg.records import Rollout, RolloutStats, Weights
from distpg.rollout.attributes import EnvAttributes
from distpg.rollout.slot_state import SlotState

SPARE_S = 5.0
"""What a worker has for closing its envs besides `--close-timeout` for each."""


@dataclass(frozen=True)
class Request:
    """References to a worker's rollouts, its slots' states, and their statistics, in this order."""

    actor: Any
    refs: list[Any]


@dataclass
class RayRollouts:
    """Rollouts that workers are collecting."""

    workers: "RayWorkers"
    requests: list[Request]
    weights: Any
    iteration: int
    before: list[Any] = field(default_factory=list[Any])
    """Of each worker, a reference to its slots' states before these rollouts."""
    by_worker: list[list[RolloutStats]] = field(default_factory=list[list[RolloutStats]])
    """Of each worker, the statistics of its slots; replaced when they collect again."""

    def result(self) -> Collection:
        """Wait for them."""
        return self._wait()

    def _wait(self) -> Collection:
        # the workers' deadline starts when they have the weights
        timeout_s = self.workers.config.phase_timeout
        wait([self.weights], ["the learner"], doing="sending its weights", timeout_s=timeout_s)
        began = time.monotonic()
        self.before = [*self.workers.snapshots]
        rollouts: dict[int, Any] = {}
        by_worker: list[list[RolloutStats]] = []
        for worker, request in enumerate(self.requests):
            refs, stats = self.workers.answer(worker, request, self, began)
            rollouts |= zip(self.workers.shares[worker], refs, strict=True)
            by_worker.append(stats)
        self.workers.last, self.workers.next_iteration = self, self.iteration + 1
        self.by_worker = by_worker
        return Collection([rollouts[slot] for slot in sorted(rollouts)], by_worker)

    def drop(self) -> Collection:
        """Wait for them to be counted only; the slots stand where they stood before."""
        stood = [*self.workers.snapshots]
        try:
            return self._wait()
        finally:
            self.workers.snapshots = stood


class RayWorkers:
    """Rollout workers, each a process that hosts a fixed share of the slots.

    One that dies or hangs is replaced. Its slots collect again from where they stood, or with
    freshly seeded envs if the environment does not expose its state.
    """

    def __init__(
        self,
        config: Config,
        source: EnvSource,
        restarts: Restarts,
        states: Sequence[SlotState | None] = (),
        attributes: EnvAttributes | None = None,
    ) -> None:
        """Start the processes, slots in their states if given; `wait_until_ready` waits.

        The attributes may change while the run goes on.
        """
        self.config = config
        self.attributes = attributes or EnvAttributes()
        self.source = source
        self.restarts = restarts
        self.shares = [
            list(range(worker, config.slots, config.num_workers))
            for worker in range(config.num_workers)
        ]
        self.names = [
            f"rollout worker {worker} (slots {', '.join(map(str, share))})"
            for worker, share in enumerate(self.shares)
        ]
        self.of_episodes = " of whole episodes (one may have no end)" * bool(config.episodes)
        self.counts = Counts()
        self.num_restarts = 0
        self.num_reissued = 0
        """Slots that collected again."""
        self.last: RayRollouts | None = None
        """The last rollouts that were waited for."""
        self.next_iteration = 0
        """The iteration after those."""
        slots = list(states) or [None] * config.slots
        self.incarnations = [state.incarnation if state else 0 for state in slots]
        self.snapshots: list[Any] = [
            ray.put([slots[slot] for slot in share]) for share in self.shares
        ]
        """Of each worker, a reference to its slots' states after the last rollouts."""
        self._repeatable: bool | None = None
        self._lost: set[int] = set()
        """Workers whose process died or hangs."""
        self._starting: set[int] = set()
        """Workers that have not been waited for since their process was started."""
        self.actors = [self._start(worker) for worker in range(config.num_workers)]
        self.evaluator = self._start_evaluator() if config.eval_every else None
        self.clips: RayClips | None = None

    def alive(self) -> tuple[int, int]:
        """Return how many worker processes answer, and how many there are."""
        number = len(self.shares)
        return number - len(self._lost | self._starting), number

    def waiting(self) -> str:
        """Return for how many processes `wait_until_ready` waits."""
        alive, number = self.alive()
        late = number - alive
        return f"waiting for {late} worker{'s' * (late != 1)}"

    def first_steps(self) -> int | None:
        """Return the env steps of the first rollouts so far, or None once they are complete."""
        return self.counts.total(self.actors) if self.last is None else None

    def faults(self) -> ProcessFaults:
        """Count the processes that were replaced, and the slots that collected again."""
        evaluator_restarts = self.evaluator.num_restarts if self.evaluator else 0
        return ProcessFaults(
            worker_restarts=self.num_restarts + evaluator_restarts,
            lost_with_node=self.restarts.lost_with_node,
            reissued_slots=self.num_reissued,
        )

    def _start(self, worker: int, num_cpus: int = 1) -> Any:
        self._starting.add(worker)
        remote = ray.remote(num_cpus=num_cpus)(RolloutActor)
        incarnations = [self.incarnations[slot] for slot in self.shares[worker]]
        return remote.remote(
            self.config, self.source, self.shares[worker], incarnations, self.snapshots[worker]
        )

    def _replace(self, worker: int) -> None:
        """Start another process; its slots stand where they stood, or restart with fresh envs."""
        ray.kill(self.actors[worker])
        self._lost.discard(worker)
        self.num_restarts += 1
        try:
            states = self.states_of(worker)
        except ObjectLostError:
            states = [None] * len(self.shares[worker])
            self.snapshots[worker] = ray.put(states)
        for slot, state in zip(self.shares[worker], states, strict=True):
            # what starts from a reset is seeded by its iteration, and comes out the same
            if state is None and self.last and not self.config.episodes:
                self.incarnations[slot] += 1
                incarnation = self.incarnations[slot]
                self.restarts.say(
                    f"slot {slot} restarts with fresh envs: incarnation {incarnation}"
                )
        self.actors[worker] = self._start(worker, cpus_left(self.config))

    def states_of(self, worker: int) -> list[SlotState | None]:
        """Fetch where a worker's slots stood after the last rollouts that were waited for."""
        return fetch(
            [self.snapshots[worker]],
            [self.names[worker]],
            doing="sending its slots' states",
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
        for worker in range(len(self.actors)):
            start = partial(self._wait_until_started, worker)
            self._retry(worker, start)

    def _wait_until_started(self, worker: int) -> None:
        """Wait for a new process, so that its start counts against no deadline of its work."""
        if worker in self._starting:
            ref = self.actors[worker].ready.remote()
            timeout_s = max(MIN_START_S, self.config.phase_timeout)
            try:
                fetch([ref], [self.names[worker]], doing="starting", timeout_s=timeout_s)
            except InputError as error:
                if self.last is None:
                    raise
                # the run has begun, and can be resumed
                raise RunError(str(error)) from error
            self._starting.discard(worker)

    def collect(self, weights: Any, iteration: int) -> RayRollouts:
        """Start a rollout of every slot with the weights of a reference."""
        requests = [self.request(worker, weights, iteration) for worker in range(len(self.actors))]
        return RayRollouts(self, requests, weights, iteration)

    def request(self, worker: int, weights: Any, iteration: int) -> Request:
        """Have a worker collect a rollout of each of its slots."""
        actor = self.actors[worker]
        call = actor.collect.options(num_returns=len(self.shares[worker]) + 2)
        return Request(actor, call.remote(weights, iteration, self.attributes.at(iteration)))

    def answer(
        self, worker: int, request: Request | None, rollouts: RayRollouts, began: float = 0.0
    ) -> tuple[list[Any], list[RolloutStats]]:
        """Return references to a worker's rollouts, and their statistics.

        Without a request, or if the process that was asked has been replaced, it is asked anew.
        """

        def attempt() -> tuple[list[Any], list[RolloutStats]]:
            nonlocal request, began
            if request is None or request.actor is not self.actors[worker]:
                self._wait_until_started(worker)
                self.num_reissued += len(self.shares[worker])
                request = self.request(worker, rollouts.weights, rollouts.iteration)
                began = time.monotonic()
            *refs, states, stats = request.refs
            (fetched,) = fetch(
                [stats],
                [self.names[worker]],
                doing=f"collecting iteration {rollouts.iteration}{self.of_episodes}",
                timeout_s=self.config.phase_timeout,
                began=began,
            )
            # to this machine, since the worker's may be lost
            wait(
                [states],
                [self.names[worker]],
                doing="sending its slots' states",
                timeout_s=self.config.phase_timeout,
                copy=True,
            )
            self.snapshots[worker] = states
            return refs, fetched

        return self._retry(worker, attempt)

    def _retry(self, worker: int, attempt: Callable[[], Result]) -> Result:
        """Try until it succeeds, replacing a worker's process each time that it is lost."""

        def noting_loss() -> Result:
            try:
                return attempt()
            except ProcessLostError:
                self._lost.add(worker)
                raise

        return self.restarts.retry(noting_loss, partial(self._replace, worker))

    def fetch(self, rollouts: Sequence[Any]) -> list[Rollout]:
        """Fetch rollouts by their references."""
        return fetch(
            rollouts,
            ["a rollout worker"] * len(rollouts),
            doing="collecting",
            timeout_s=self.config.phase_timeout,
        )

    def replay(self, rollouts: Sequence[Any]) -> list[Any]:
        """Collect those of the last rollouts again that were lost with a node.

        Raises:
            ObjectLostError: none was.
        """
        assert self.last is not None, "rollouts are of a collection"
        last, found = self.last, dict(enumerate(rollouts))
        gone = [worker for worker, share in enumerate(self.shares) if self._is_lost(found, share)]
        if not gone:
            raise ObjectLostError("what the learner needed was lost with a node")
        again = ", ".join(str(slot) for worker in gone for slot in self.shares[worker])
        for worker in gone:
            self.snapshots[worker] = last.before[worker]
            self._replace(worker)
            refs, last.by_worker[worker] = self.answer(worker, None, last)
            found |= zip(self.shares[worker], refs, strict=True)
        self.restarts.lost_with_node += 1
        self.restarts.faults.report(
            "lost_with_node", f"rollouts lost with a node were collected again: slots {again}"
        )
        return [found[slot] for slot in sorted(found)]

    def rewind(self, snapshots: Sequence[Any]) -> None:
        """Continue from earlier states of all slots, a reference for each worker."""
        self._close_envs(self._time_to_close())
        for worker, snapshot in enumerate(snapshots):
            self.snapshots[worker] = snapshot
            self._replace(worker)
        self.wait_until_ready()

    def repeatable(self) -> bool:
        """Return whether slots can collect again, bit for bit, from an earlier state."""
        if self.config.episodes:
            return True
        if self._repeatable is None and self.last is not None:
            self._repeatable = None not in self.states_of(0)
        return bool(self._repeatable)

    def _is_lost(self, rollouts: Mapping[int, Any], share: Sequence[int]) -> bool:
        try:
            ray.get([rollouts[slot] for slot in share], timeout=self.config.phase_timeout)
        except (RayObjectLostError, GetTimeoutError):
            return True
        return False

    def evaluate(self, weights: Weights, attributes: Mapping[str, Any]) -> RayEvaluation:
        """Begin to evaluate a policy, in a process of its own."""
        self.evaluator = self.evaluator or self._start_evaluator()
        return self.evaluator.begin(weights, attributes)

    def clip(self, weights: Weights, attributes: Mapping[str, Any]) -> RayClip:
        """Begin to play an episode for a clip, in a process of its own."""
        if self.clips and self.clips.lost:
            self.clips.close()
            self.clips = None
        self.clips = self.clips or RayClips(self.config, self.source)
        return self.clips.begin(weights, attributes)

    def _start_evaluator(self) -> RayEvaluator:
        return RayEvaluator(self.config, self.source, self.restarts)

    def close(self, *, hurry: bool = False) -> list[str]:
        """Close the envs, which may have processes of their own; end the processes.

        Returns:
            The envs that did not close in time. A worker that is busy with something else has
            `ANSWER_S` seconds, and with `hurry` all have `HURRY_S`.
        """
        late = self._close_envs(HURRY_S if hurry else self._time_to_close(), self.evaluator)
        for actor in self.actors:
            ray.kill(actor)
        if self.evaluator:
            ray.kill(self.evaluator.actor)
        if self.clips:
            self.clips.close()
        return late

    def _time_to_close(self) -> float:
        num_envs = self.config.num_envs * max(map(len, self.shares))
        return SPARE_S + self.config.close_timeout * num_envs

    def _close_envs(self, timeout_s: float, evaluator: RayEvaluator | None = None) -> list[str]:
        """Have all processes but the lost close their envs; return those that did not in time."""
        names = {worker: name for worker, name in enumerate(self.names) if worker not in self._lost}
        actors = {name: self.actors[worker] for worker, name in names.items()}
        starting = [name for worker, name in names.items() if worker in self._starting]
        if evaluator and not evaluator.lost:
            actors[evaluator.name] = evaluator.actor
            starting += [evaluator.name] * evaluator.starting
        return close_envs(actors, starting, timeout_s)
