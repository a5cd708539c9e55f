"""Rollout workers as actors. They come and go; slots move between them, and stay what they are."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from distpg.actors.clips import RayClip, RayClips
from distpg.actors.closing import HURRY_S, close_envs
from distpg.actors.collecting import RayRollouts, Request, is_lost
from distpg.actors.counting import Counts
from distpg.actors.evaluator import RayEvaluation, RayEvaluator
from distpg.actors.placement import Places
from distpg.actors.restarts import Restarts
from distpg.actors.shares import share_out
from distpg.actors.slots import START, Slots
from distpg.actors.team import Team
from distpg.actors.wait import MIN_START_S, fetch
from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import ObjectLostError, ProcessLostError
from distpg.iteration import ProcessFaults
from distpg.records import Rollout, Weights
from distpg.rollout.attributes import EnvAttributes
from distpg.rollout.slot_state import SlotState

SPARE_S = 5.0
"""What a worker has for closing its envs besides `--close-timeout` for each."""


class RayWorkers:
    """Rollout workers, each a process that hosts some of the slots.

    The slots of one that dies or hangs are collected by the others. Its replacement takes them back
    when it has started.
    """

    kind: type[RayRollouts] = RayRollouts
    """What `collect` returns."""

    def __init__(
        self,
        config: Config,
        source: EnvSource,
        places: Places,
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
        self.places = places
        self.restarts = restarts
        self.of_episodes = " of whole episodes (one may have no end)" * bool(config.episodes)
        self.counts = Counts()
        self.num_reissued = 0
        """Slots that collected again."""
        self.last: RayRollouts | None = None
        """The last rollouts that were waited for."""
        self.last_s: float | None = None
        """How long that took."""
        self.slots = Slots(config, states, self.attributes, restarts.say)
        self.team = Team(config, source, places, restarts)
        first = range(config.num_first_workers)
        self.hosts = share_out({}, config.slots, config.num_workers, first)
        """The worker of each slot."""
        self.opening = {worker: self._open(worker) for worker in first}
        """Of each first worker, a reference to what makes its environments."""
        self.evaluator = self._start_evaluator() if config.eval_every else None
        self.clips: RayClips | None = None

    def _open(self, worker: int) -> Any:
        return self.slots.open(self.team.processes[worker], self.share(worker))

    def share(self, worker: int) -> list[int]:
        """Return the slots of a worker."""
        return [slot for slot, host in self.hosts.items() if host == worker]

    def name_of(self, worker: int) -> str:
        """Name a worker and its slots."""
        return f"rollout worker {worker} (slots {', '.join(map(str, self.share(worker)))})"

    def alive(self) -> tuple[int, int]:
        """Return how many worker processes have started, and how many there are."""
        return len(self.team.started), len(self.team.processes)

    def waiting(self) -> str:
        """Return for how many processes `wait_until_ready` waits."""
        late = len(self.opening)
        return f"waiting for {late} worker{'s' * (late != 1)}"

    def first_steps(self) -> int | None:
        """Return the env steps of the first rollouts so far, or None once they are complete."""
        return self.counts.total(self.team.actors()) if self.last is None else None

    def faults(self) -> ProcessFaults:
        """Count the processes that were replaced, and the slots that collected again."""
        evaluator_restarts = self.evaluator.num_restarts if self.evaluator else 0
        return ProcessFaults(
            worker_restarts=self.team.num_restarts + evaluator_restarts,
            lost_with_node=self.restarts.lost_with_node,
            reissued_slots=self.num_reissued,
        )

    def wait_until_ready(self) -> None:
        """Wait until the first workers have made their environments.

        Raises:
            InputError: the environment cannot be made.
            RunError: processes were lost too often, or there is no place for one.
        """
        for worker in [*self.opening]:
            self._wait_until_open(worker)
        self.team.welcome()

    def _wait_until_open(self, worker: int) -> None:
        timeout_s = max(MIN_START_S, self.config.phase_timeout)

        def attempt() -> None:
            self.team.wait_for(worker)
            name = self.name_of(worker)
            fetch([self.opening[worker]], [name], doing="starting", timeout_s=timeout_s)

        def replace() -> None:
            self.team.restart(worker)
            self.opening[worker] = self._open(worker)

        self.restarts.retry(attempt, replace, lambda: self.team.processes[worker].node)
        del self.opening[worker]

    def collect(self, weights: Any, iteration: int) -> RayRollouts:
        """Start a rollout of every slot with the weights of a reference."""
        if self.slots.next_iteration == START:
            self.slots.begin(iteration)
        self.slots.weights[iteration] = weights
        self.team.welcome()
        if living := self.team.started:
            config = self.config
            self.hosts = share_out(self.hosts, config.slots, config.num_workers, living)
        return self.kind(self, weights, iteration, range(self.config.slots))

    def ask(self, rollouts: RayRollouts, slots: Sequence[int]) -> list[Request]:
        """Ask the workers that host slots, and have started, for rollouts of these."""
        parts: dict[int, list[int]] = {}
        for slot in slots:
            if (worker := self.hosts[slot]) in self.team.started:
                parts.setdefault(worker, []).append(slot)
        return [self._request(worker, part, rollouts) for worker, part in parts.items()]

    def _request(self, worker: int, slots: Sequence[int], rollouts: RayRollouts) -> Request:
        process, iteration = self.team.processes[worker], rollouts.iteration
        before, repeated = self.slots.bring(process, slots, iteration)
        call = process.method("collect", num_returns=len(slots) + 2)
        attributes = self.attributes.at(iteration)
        *refs, states, answer = call.remote(rollouts.weights, iteration, attributes, slots)
        self.slots.stands |= dict.fromkeys(slots, (process, iteration + 1))
        # a deadline is meant for the share that a worker has when all are there
        usual = -(-self.config.slots // self.config.num_workers)
        timeout_s = self.config.phase_timeout * max(1.0, (len(slots) + repeated) / usual)
        if before:
            timeout_s = max(MIN_START_S, timeout_s)
        name = f"rollout worker {worker} (slots {', '.join(map(str, slots))})"
        return Request(worker, name, process, slots, before, refs, states, answer, timeout_s)

    def lose(self, request: Request, error: ProcessLostError) -> int:
        """Replace the process that was asked; return 1 if it failed, 0 if its node was lost."""
        if request.process.ended:
            return 0
        failed = self.restarts.count(error, request.process.node)
        self.team.restart(request.worker)
        if not failed:
            self.team.lose_with_nodes()
        return failed

    def states(self) -> list[SlotState | None]:
        """Fetch where all slots stood after the last rollouts, in slot order."""
        points = self.slots.points
        refs = dict.fromkeys(point.states for point in points if point.states is not None)
        values: dict[Any, Sequence[SlotState | None]] = {}
        for ref in refs:
            with suppress(ObjectLostError, ProcessLostError):
                values[ref] = self._fetch_states(ref)
        gone = refs.keys() - values.keys()
        lost = [slot for slot, point in enumerate(points) if point.states in gone]
        if lost:
            ref = self._make_again(lost)
            values[ref] = self._fetch_states(ref)
        return [
            None if point.states is None else values[point.states][point.position]
            for point in self.slots.points
        ]

    def _fetch_states(self, ref: Any) -> Sequence[SlotState | None]:
        names, timeout_s = ["a rollout worker"], self.config.phase_timeout
        return fetch([ref], names, doing="sending its slots' states", timeout_s=timeout_s)[0]

    def _make_again(self, slots: Sequence[int]) -> Any:
        """Have a worker repeat what led to states that are lost; return a reference to them."""
        iteration = self.slots.next_iteration
        self.slots.fall_back(slots)

        def attempt() -> Any:
            self.team.wait_for_one()
            process = self.team.processes[min(self.team.started)]
            calls, _ = self.slots.bring(process, slots, iteration)
            states = process.actor.states.remote(slots)
            names, doing = ["a rollout worker"] * (len(calls) + 1), "repeating its rollouts"
            fetch([*calls, states], names, doing=doing, timeout_s=self.config.phase_timeout)
            return states

        def replace() -> None:
            self.team.restart(min(self.team.started))

        def node() -> str:
            return self.team.processes[min(self.team.started)].node

        states = self.restarts.retry(attempt, replace, node)
        self.hosts |= dict.fromkeys(slots, min(self.team.started))
        self.num_reissued += len(slots)
        self.slots.moved_on(slots, states, iteration)
        return states

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
        timeout_s = self.config.phase_timeout
        gone = [slot for slot, ref in enumerate(rollouts) if is_lost(ref, timeout_s)]
        if not gone:
            raise ObjectLostError("what the learner needed was lost with a node")
        self.team.lose_with_nodes()
        self.slots.move_back(gone, self.last.before)
        self.last.collect_again(gone)
        self.num_reissued += len(gone)
        self.restarts.lost_with_node += 1
        self.restarts.faults.report(
            "lost_with_node",
            f"rollouts lost with a node were collected again: slots {', '.join(map(str, gone))}",
        )
        return self.last.handles()

    def evaluate(self, weights: Weights, attributes: Mapping[str, Any]) -> RayEvaluation:
        """Begin to evaluate a policy, in a process of its own."""
        self.evaluator = self.evaluator or self._start_evaluator()
        return self.evaluator.begin(weights, attributes)

    def clip(self, weights: Weights, attributes: Mapping[str, Any]) -> RayClip:
        """Begin to play an episode for a clip, in a process of its own."""
        if self.clips and self.clips.lost:
            self.clips.close()
            self.clips = None
        self.clips = self.clips or RayClips(self.config, self.source, self.places)
        return self.clips.begin(weights, attributes)

    def _start_evaluator(self) -> RayEvaluator:
        return RayEvaluator(self.config, self.source, self.team, self.restarts)

    def close(self, *, hurry: bool = False) -> list[str]:
        """Close the envs, which may have processes of their own; end the processes.

        Returns:
            The envs that did not close in time. A worker that is busy with something else has
            `ANSWER_S` seconds, and with `hurry` all have `HURRY_S`.
        """
        late = self._close_envs(HURRY_S if hurry else self._time_to_close())
        self.team.end()
        if self.evaluator:
            self.evaluator.process.end()
        if self.clips:
            self.clips.close()
        return late

    def _time_to_close(self) -> float:
        most = max(len(self.share(worker)) for worker in range(self.config.num_workers))
        return SPARE_S + self.config.close_timeout * self.config.num_envs * most

    def _close_envs(self, timeout_s: float) -> list[str]:
        """Have all processes but the lost close their envs; return those that did not in time."""
        there = {*self.team.started, *self.opening}
        actors = {self.name_of(x): self.team.processes[x].actor for x in sorted(there)}
        starting = [self.name_of(worker) for worker in self.opening]
        if self.evaluator and not self.evaluator.lost:
            actors[self.evaluator.name] = self.evaluator.process.actor
            starting += [self.evaluator.name] * self.evaluator.starting
        return close_envs(actors, starting, timeout_s)
