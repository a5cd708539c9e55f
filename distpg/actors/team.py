"""The processes of rollout workers: which have started, and what replaces those that are lost."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import ray

from distpg.actors.placement import Place, Places, Role, Waiting
from distpg.actors.process import Process
from distpg.actors.restarts import IN_A_ROW, Restarts, lost_nodes
from distpg.actors.rollout_actor import RolloutActor
from distpg.actors.wait import MIN_START_S, read
from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import ProcessLostError, RunError

POLL_S = 1.0
LOOK_EVERY_S = 5.0
"""Interval at which workers that wait look for bundles."""


class Team:
    """Processes by the number of their worker. Those that are lost are replaced at once.

    A replacement, and a worker that need not be there from the start, waits for a free CPU as long
    as others can do the work.
    """

    def __init__(
        self, config: Config, source: EnvSource, places: Places, restarts: Restarts
    ) -> None:
        """Ask for all processes."""
        self.arguments = config, source
        self.places = places
        self.restarts = restarts
        self.remote: Any = ray.remote(RolloutActor)
        self.started: set[int] = set()
        """Workers whose process has started."""
        self.failed_starts: Counter[int] = Counter()
        self.given_up: set[int] = set()
        """Workers whose processes did not start again and again."""
        self.look_at = 0.0
        """Monotonic time of the next look at the placement group."""
        self.num_restarts = 0
        self.processes = [self._process(worker) for worker in range(config.num_workers)]

    def _process(self, worker: int) -> Process:
        return Process(self.remote, self.places, worker, *self.arguments)

    def starting(self) -> list[Any]:
        """Return references that are there once further workers have started."""
        return [self.processes[worker].placed for worker in self._absent()]

    def wait_for(self, worker: int) -> None:
        """Wait until a worker has started.

        Raises:
            RunError: it finds no place within `--wait-for-resources`, or cannot start.
        """
        waiting = Waiting(self.places, len(self.starting()))
        while not self.processes[worker].has_started():
            ray.wait([self.processes[worker].placed], timeout=POLL_S)
            if waiting.is_over():
                raise waiting.fail()
        self._note_start(worker)

    def wait_for_one(self) -> None:
        """Wait until any worker has started.

        Raises:
            RunError: none finds a place within `--wait-for-resources`, or can start.
        """
        waiting = Waiting(self.places, len(self.processes))
        while not self.started:
            ray.wait(self.starting(), timeout=POLL_S)
            self.welcome()
            if not self.started and waiting.is_over():
                raise waiting.fail()

    def welcome(self) -> None:
        """Note the workers that have started meanwhile."""
        self.restarts.settle()
        for worker in self._absent():
            process = self.processes[worker]
            if process.ended:
                self.processes[worker] = self._process(worker)
            elif process.has_started():
                try:
                    self._note_start(worker)
                except RunError as error:
                    self._fail_to_start(worker, error)
        if time.monotonic() > self.look_at:
            self.look_at = time.monotonic() + LOOK_EVERY_S
            self._move_into_group()

    def _absent(self) -> list[int]:
        """Return the workers that have not started, and may."""
        started = self.started | self.given_up
        return [worker for worker in range(len(self.processes)) if worker not in started]

    def _fail_to_start(self, worker: int, error: RunError) -> None:
        """Replace a process that did not start; give up on the worker after some tries.

        Raises:
            RunError: processes were lost too often, or there is no other worker.
        """
        with_its_node = isinstance(error, ProcessLostError) and error.with_its_node
        loss = ProcessLostError(str(error), with_its_node=with_its_node)
        if not self.restarts.count(loss, self.processes[worker].node):
            self.restart(worker)
            return
        self.failed_starts[worker] += 1
        if self.failed_starts[worker] < IN_A_ROW:
            self.restart(worker)
            return
        self._end(worker)
        self.given_up.add(worker)
        if len(self.given_up) == len(self.processes):
            raise RunError(f"no worker can start; the last: {error}") from error
        self.restarts.say(f"rollout worker {worker} cannot start; the run goes on without it")

    def _move_into_group(self) -> None:
        """Place processes that wait in bundles that the group has got back."""
        for worker in self._absent():
            process = self.processes[worker]
            waits = process.place.bundle is None and not process.has_started()
            if waits and self.places.has_free_bundle(worker):
                process.end()
                self.processes[worker] = self._process(worker)

    def _note_start(self, worker: int) -> None:
        process, name = self.processes[worker], f"rollout worker {worker}"
        process.node = read(process.placed, name, doing="starting", timeout_s=MIN_START_S)
        self.started.add(worker)
        self.failed_starts[worker] = 0

    def lose_with_nodes(self) -> None:
        """Replace the processes whose nodes are lost, before they are asked."""
        lost = lost_nodes()
        for worker in sorted(self.started):
            if self.processes[worker].node in lost:
                what = f"rollout worker {worker} died: its node was lost"
                self.restarts.count(ProcessLostError(what, with_its_node=True), "")
                self.restart(worker)

    def restart(self, worker: int) -> None:
        """Replace a process."""
        self.num_restarts += 1
        self._end(worker)
        self.processes[worker] = self._process(worker)

    def _end(self, worker: int) -> None:
        self.processes[worker].end()
        self.started.discard(worker)

    def place_for(self, role: Role) -> Place | None:
        """Make room for a replacement of another kind, which a run cannot do without.

        Workers that wait for a place are ended; if nothing is free and there are several others,
        also the newest whose place can be used. All ask for a place again in the next iteration.

        Returns:
            The place in the placement group that became free, if one did.
        """
        for worker in self._absent():
            self.processes[worker].end()
        if self.places.has_room(role) or len(self.started) < 2:
            return None
        for worker in sorted(self.started, reverse=True):
            place = self.processes[worker].place
            if self.places.would_fit(role, place, worker):
                self.restarts.say(f"rollout worker {worker} gives its place to the {role}")
                self._end(worker)
                return self.places.hand_over(place, role)
        return None

    def end(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.end()

    def actors(self) -> Sequence[Any]:
        """Return all actors."""
        return [process.actor for process in self.processes]
