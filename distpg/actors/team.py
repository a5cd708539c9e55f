"""The processes of rollout workers: which have started, and what replaces those that are lost."""

from collections.abc import Sequence
from typing import Any

import ray

from distpg.actors.placement import LEARNER, Place, Places, Waiting
from distpg.actors.process import Process
from distpg.actors.restarts import Restarts, lost_nodes
from distpg.actors.rollout_actor import RolloutActor
from distpg.actors.wait import MIN_START_S, read
from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import ProcessLostError, RunError

POLL_S = 1.0


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
        self.num_restarts = 0
        self.processes = [self._process(worker) for worker in range(config.num_workers)]

    def _process(self, worker: int) -> Process:
        return Process(self.remote, self.places, worker, *self.arguments)

    def starting(self) -> list[Any]:
        """Return references that are there once further workers have started."""
        return [x.placed for worker, x in enumerate(self.processes) if worker not in self.started]

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
        for worker, process in enumerate(self.processes):
            if worker in self.started:
                continue
            if process.ended:
                self.processes[worker] = self._process(worker)
            elif process.has_started():
                try:
                    self._note_start(worker)
                except RunError as error:
                    self.restarts.count(ProcessLostError(str(error)), process.node)
                    self.restart(worker)
            elif process.place.bundle is None and self.places.has_free_bundle(worker):
                # the group has got back what it had lost
                process.end()
                self.processes[worker] = self._process(worker)

    def _note_start(self, worker: int) -> None:
        process, name = self.processes[worker], f"rollout worker {worker}"
        process.node = read(process.placed, name, doing="starting", timeout_s=MIN_START_S)
        self.started.add(worker)

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

    def give_up_newest(self) -> Place | None:
        """End the newest worker, unless there is but one, so that the learner has a CPU.

        Returns:
            Its place, if that is in the placement group. The worker waits for another place from
            the next iteration on.
        """
        if len(self.started) < 2:
            return None
        worker = max(self.started)
        if not self.places.would_fit(LEARNER, worker):
            return None
        self.restarts.say(f"rollout worker {worker} gives its place to the learner")
        self._end(worker)
        return self.places.hand_over(self.processes[worker].place, LEARNER)

    def end(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.end()

    def actors(self) -> Sequence[Any]:
        """Return all actors."""
        return [process.actor for process in self.processes]
