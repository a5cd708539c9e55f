"""Collecting the rollouts of one iteration: one wait for all workers, and one recovery of all lost.

Slots of a lost worker are collected by whoever is free first, of the others or of the replacements.
"""

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import ray

from distpg.actors import head
from distpg.actors.process import Process
from distpg.actors.recovery import Point
from distpg.actors.restarts import Restarts
from distpg.actors.rollout_actor import Answer
from distpg.actors.slots import Slots
from distpg.actors.team import Team
from distpg.actors.wait import CHECK_EVERY_S, FAILURES, fetch, read
from distpg.config.config import Config
from distpg.errors import InputError, ObjectLostError, ProcessLostError, RunError
from distpg.iteration import Collection
from distpg.records import RolloutStats

LATE_S = 10.0
"""Seconds after which workers are named that take longer than the last iteration took."""


@dataclass(frozen=True, eq=False)
class Request:
    """A rollout of each of some slots, asked of a worker."""

    worker: int
    name: str
    process: Process
    slots: Sequence[int]
    before: Sequence[Any]
    """References to the calls that bring the slots to the worker, if they were not there."""
    rollouts: Sequence[Any]
    """References, as the following."""
    states: Any
    answer: Any
    timeout_s: float


class Askable(Protocol):
    """What rollouts need of the workers that collect them; `RayWorkers` describes it."""

    config: Config
    slots: Slots
    team: Team
    restarts: Restarts
    hosts: dict[int, int]
    of_episodes: str
    num_reissued: int
    last: "RayRollouts | None"
    last_s: float | None

    def ask(self, rollouts: "RayRollouts", slots: Sequence[int]) -> list[Request]:
        """Ask the workers that host slots, and have started, for rollouts of these."""
        ...

    def lose(self, request: Request, error: ProcessLostError) -> int:
        """Replace the process that was asked; return 1 if it failed, 0 if its node was lost."""
        ...


class RayRollouts:
    """Rollouts that workers are collecting."""

    def __init__(
        self, workers: Askable, weights: Any, iteration: int, slots: Sequence[int]
    ) -> None:
        """Ask the workers that host the slots."""
        self.workers = workers
        self.weights = weights
        self.iteration = iteration
        self.before: Sequence[Point] = ()
        """Where all slots stood before, once they were waited for."""
        self.by_worker: list[list[RolloutStats]] = [[] for _ in range(workers.config.num_workers)]
        """Of each worker, the statistics of its slots; changed if some collect again."""
        self.rollouts: dict[int, Any] = {}
        """References, by slot."""
        self.missing = [*slots]
        """Slots that have not been collected."""
        self.failures: Counter[int] = Counter()
        """How often a process failed that was collecting a slot."""
        self.asked_at = time.monotonic()
        self.running = workers.ask(self, slots)
        self.deadlines: dict[Request, float] = {}

    def result(self) -> Collection:
        """Wait for them."""
        workers = self.workers
        self.before = workers.slots.points
        self._gather()
        workers.last, workers.slots.next_iteration = self, self.iteration + 1
        return Collection(self.handles(), self.by_worker)

    def drop(self) -> Collection:
        """Wait for them to be counted only; the slots stand where they stood before."""
        slots = self.workers.slots
        stood = slots.points, slots.next_iteration
        try:
            return self.result()
        finally:
            slots.points, slots.next_iteration = stood

    def handles(self) -> list[Any]:
        """Return references to the rollouts, in slot order."""
        return [self.rollouts[slot] for slot in sorted(self.rollouts)]

    def collect_again(self, slots: Sequence[int]) -> None:
        """Collect some of them again, and replace what is known of them."""
        for told in self.by_worker:
            told[:] = [stats for stats in told if stats.slot not in slots]
        self.missing = [*slots]
        self.asked_at = time.monotonic()
        self.running = self.workers.ask(self, slots)
        self._gather()

    def _gather(self) -> None:
        """Wait for all slots that are missing, also those of workers that are lost."""
        late = LateWorkers(self.workers, self.iteration, self.asked_at)
        while self.missing:
            asked = {slot for request in self.running for slot in request.slots}
            homeless = [slot for slot in self.missing if slot not in asked]
            if homeless:
                self.running += self._ask_free_workers(homeless)
            if not self.running:
                self.workers.team.wait_for_one()
                continue
            done = self._done(at_once=bool(homeless))
            for request, answer in zip(done, self._answers(done), strict=True):
                self.running.remove(request)
                if answer is not None:
                    self._take(request, answer)
            late.check(self.running)
        late.end()

    def _take(self, request: Request, answer: Answer) -> None:
        slots = self.workers.slots
        slots.exposes_state = answer.exposes_state
        slots.moved_on(request.slots, request.states, self.iteration + 1)
        self.rollouts |= zip(request.slots, request.rollouts, strict=True)
        self.by_worker[request.worker] += answer.stats
        self.missing = [slot for slot in self.missing if slot not in request.slots]

    def _done(self, *, at_once: bool) -> list[Request]:
        """Wait until all have answered, or one if `at_once`, or until a check is due."""
        head.check()
        for request in self.running:
            self.deadlines.setdefault(request, time.monotonic() + request.timeout_s)
        refs = {request.answer: request for request in self.running}
        starting = self.workers.team.starting() if at_once else []
        end = min(self.deadlines[request] for request in self.running)
        slice_s = min(CHECK_EVERY_S, max(0.0, end - time.monotonic()))
        ready, _ = ray.wait(
            [*refs, *starting],
            num_returns=1 if at_once else len(refs),
            timeout=slice_s,
            fetch_local=False,
        )
        late = [x for x in self.running if self.deadlines[x] <= time.monotonic()]
        return [*dict.fromkeys([*(refs[ref] for ref in ready if ref in refs), *late])]

    def _answers(self, done: Sequence[Request]) -> Sequence[Answer | None]:
        """Return what workers answered; None for those that are lost, or what they needed."""
        if all(self.deadlines[x] > time.monotonic() and not x.before for x in done):
            try:
                timeout_s = self.workers.config.phase_timeout
                return ray.get([request.answer for request in done], timeout=timeout_s)
            except FAILURES:
                # of one or more; the others have answered
                pass
        return [self._answer(request) for request in done]

    def _answer(self, request: Request) -> Answer | None:
        workers, name = self.workers, request.name
        doing = f"collecting iteration {self.iteration}{workers.of_episodes}"
        try:
            if not ray.wait([request.answer], timeout=0, fetch_local=False)[0]:
                raise ProcessLostError(
                    f"{name} did not finish within {request.timeout_s:g} s while {doing}"
                )
            for ref in request.before:
                read(ref, name, doing="making its environments", timeout_s=request.timeout_s)
            return read(request.answer, name, doing=doing, timeout_s=request.timeout_s)
        except ProcessLostError as error:
            failed = workers.lose(request, error)
            self.failures.update(dict.fromkeys(request.slots, failed))
            workers.restarts.check_in_a_row(max(self.failures.values()), error)
        except ObjectLostError:
            workers.slots.fall_back(request.slots)
        except InputError as error:
            # the run has begun, and can be resumed
            raise RunError(str(error)) from error
        workers.num_reissued += len(request.slots)
        return None

    def _ask_free_workers(self, slots: Sequence[int]) -> list[Request]:
        """Deal slots to the workers that have nothing to do, each its share."""
        workers, team = self.workers, self.workers.team
        team.welcome()
        busy = {request.worker for request in self.running}
        share = math.ceil(len(slots) / max(1, len(team.started)))
        dealt: list[int] = []
        for number, worker in enumerate(sorted(team.started - busy)):
            part = slots[number * share : (number + 1) * share]
            workers.hosts |= dict.fromkeys(part, worker)
            dealt += part
        return workers.ask(self, dealt)


class LateWorkers:
    """Names workers that take much longer than the last iteration did, once an iteration."""

    def __init__(self, workers: Askable, iteration: int, began: float) -> None:
        """Take when the rollouts of an iteration were asked for."""
        self.workers = workers
        self.iteration = iteration
        self.began = began
        self.said = workers.last_s is None

    def check(self, running: Sequence[Request]) -> None:
        """Name those that are late, if that is new."""
        seconds = time.monotonic() - self.began
        if running and not self.said and seconds > (self.workers.last_s or 0.0) + LATE_S:
            self.said = True
            names = ", ".join(request.name for request in running)
            limit_s = max(request.timeout_s for request in running)
            self.workers.restarts.say(
                f"iteration {self.iteration} waits for {names}: {seconds:.0f} s so far; replaced "
                f"after {limit_s:g} s (--phase-timeout)"
            )

    def end(self) -> None:
        """Note how long the iteration took."""
        self.workers.last_s = time.monotonic() - self.began


def is_lost(ref: Any, timeout_s: float) -> bool:
    """Return whether an object was lost; it is brought to this node to see."""
    try:
        fetch([ref], ["a rollout worker"], doing="sending a rollout", timeout_s=timeout_s)
    except (ObjectLostError, ProcessLostError):
        return True
    return False
