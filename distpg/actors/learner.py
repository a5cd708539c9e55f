"""The learner as an actor: replaced, and restored from its last state, if it dies or hangs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import ray

from distpg.actors.learner_actor import LearnerActor
from distpg.actors.placement import LEARNER, Place, Places, Waiting
from distpg.actors.process import Process
from distpg.actors.recovery import Copying, Saved
from distpg.actors.restarts import Restarts
from distpg.actors.slots import START
from distpg.actors.wait import MIN_START_S, fetch
from distpg.actors.workers import RayWorkers
from distpg.config.config import Config
from distpg.errors import InputError, ObjectLostError, ProcessLostError, RunError
from distpg.iteration import COMPILING, Packages, Placement, ProcessFaults, Update
from distpg.records import LearnerState, Weights
from distpg.spaces import ActionSpec, ObsSpec

LOADING_S = 1.0
"""After which a learner that is not ready is compiling."""
COMPILE_S = 600.0
"""Deadline of compiling, which takes 10 to 40 s on an idle machine."""
POLL_S = 1.0
ROOM_S = 20.0
"""What a replacement has for starting at its place before it looks for another."""
SENDING = "sending its weights"
NOT_COPIED = (
    "the states of this iteration could not be copied to this node; if a node is lost, more is "
    "repeated"
)
Result = TypeVar("Result")


class RayLearner:
    """A learner in its own process, on a GPU if the cluster has one to give.

    Its state after each update is an object on its node. A process that restores it and repeats the
    update on the same rollouts ends in the same weights, bit for bit. If the node is lost, too, all
    iterations since the last copy of the state are repeated.
    """

    def __init__(
        self,
        config: Config,
        obs_spec: ObsSpec,
        action_spec: ActionSpec,
        places: Places,
        restarts: Restarts,
    ) -> None:
        """Start the process; `placement` waits for it, and `attach` has to follow."""
        self.config = config
        self.timeout_s = config.phase_timeout
        self.arguments = (config, obs_spec, action_spec)
        self.places = places
        self.restarts = restarts
        self.num_restarts = 0
        self.last_state: Any = None
        """A reference to the state after the last update, or to the state that was loaded."""
        self.current: Any = None
        """A reference to the current weights."""
        self.values: dict[Any, Weights] = {}
        """What references to weights stand for: what is in use stays on the driver's node."""
        self.acting: Any = None
        """After a repetition, a reference to the weights that the next batch is collected with."""
        self.next_update = 0
        """The iteration whose rollouts are next."""
        self.copying: Copying | None = None
        """The copy that is under way."""
        self.restored = True
        """Whether the process has the last state."""
        self.packages: Packages = {}
        """The compiled update; a replacement gets it, so that its bits are the same."""
        self.remote: Any = ray.remote(LearnerActor)
        self._start()

    def attach(self, workers: RayWorkers) -> None:
        """Take the workers that collect again what was lost with a node."""
        self.workers = workers
        self.saved = Saved(START, None, workers.slots.points)

    def _start(self, place: Place | None = None) -> None:
        self.process = Process(self.remote, self.places, LEARNER, *self.arguments, place=place)
        self.actor: Any = self.process.actor
        self.ready = self.actor.placement.remote()
        self.compiling = self.actor.compile.remote(self.packages)

    def _replace(self) -> None:
        self.num_restarts += 1
        self.restored = False
        self._start_again()

    def _start_again(self) -> None:
        self.process.end()
        self._start(self.workers.team.place_for(LEARNER))

    def _wait(self, ref: Any, doing: str, timeout_s: float | None = None) -> Any:
        timeout_s = timeout_s or self.timeout_s
        return fetch([ref], ["the learner"], doing=doing, timeout_s=timeout_s)[0]

    def _wait_until_started(self) -> Placement:
        """Wait for the process and its compiled update, which count against no other deadline."""
        self._wait_for_place()
        placement = self._wait(self.ready, "starting", max(MIN_START_S, self.timeout_s))
        if not ray.wait([self.compiling], timeout=LOADING_S)[0]:
            self.restarts.say(COMPILING)
        self.packages, lines = self._wait(self.compiling, "compiling the update", COMPILE_S)
        for line in lines:
            if line != COMPILING:
                self.restarts.say(line)
        return placement

    def _wait_for_place(self) -> None:
        waiting = Waiting(self.places, 1, self.places.gpus)
        look_again_at = ROOM_S
        while not self.process.has_started():
            ray.wait([self.process.placed], timeout=POLL_S)
            if waiting.is_over():
                raise waiting.fail()
            if waiting.seconds() > look_again_at and self.num_restarts:
                # what was free may have been taken by others, or by the group
                look_again_at += ROOM_S
                self._start_again()
        self.process.node = self._wait(self.process.placed, "starting")

    def _retry(self, attempt: Callable[[], Result]) -> Result:
        """Try on this process or on its replacements, which are restored first."""

        def restored() -> Result:
            if not self.restored:
                try:
                    self._wait_until_started()
                except InputError as error:
                    # the run has begun, and can be resumed
                    raise RunError(str(error)) from error
                self._restore()
                self.restored = True
            return attempt()

        return self.restarts.retry(restored, self._replace, lambda: self.process.node)

    def _restore(self) -> None:
        """Load the last state, or repeat the iterations that led to it if it was lost."""
        if self.last_state is None:
            return
        try:
            self._wait(self.actor.load.remote(self.last_state), "loading its state")
        except ObjectLostError:
            try:
                self._repeat()
            except ObjectLostError as error:
                raise ProcessLostError(str(error)) from error

    def _repeat(self) -> None:
        """Collect and update again from the last copy on."""
        iterations = range(self.saved.iteration, self.next_update)
        self.restarts.say(
            f"the learner's state was lost with its node; repeating {len(iterations)} iterations"
        )
        if self.saved.learner is not None:
            self._wait(self.actor.load.remote(self.saved.learner), "loading its state")
        slots = self.workers.slots
        slots.move_back(range(self.config.slots), self.saved.points)
        state, weights = self.saved.learner, self._hold(self.actor.weights.remote())
        acting = self._hold(self.actor.acting_weights.remote())
        for iteration in iterations:
            rollouts = self.workers.collect(acting, iteration).result().rollouts
            before = weights
            weights, state, _ = self._update(rollouts)
            acting = before if self.config.overlap else weights
        self.last_state, self.current, self.acting = state, weights, acting

    def _now(self) -> Saved:
        """Return what the run can be restored from after any loss, once it is copied."""
        slots = self.workers.slots
        iteration = START if slots.next_iteration == START else self.next_update
        return Saved(iteration, self.last_state, slots.points)

    def _save(self) -> None:
        """Copy all states to the driver's node; those of slots that are lost are made again."""
        self.copying = None
        copied = self._now().copied(self.timeout_s)
        if copied is None:
            self.workers.states()
            copied = self._now().copied(self.timeout_s)
        if copied is not None:
            self._keep(copied)
        else:
            self.restarts.say(NOT_COPIED)

    def _save_beside_training(self) -> None:
        """Begin to copy all states if that is due; take the copy that is done."""
        if self.copying and self.copying.is_over():
            if copied := self.copying.result:
                self._keep(copied)
            else:
                self.restarts.say(NOT_COPIED)
            self.copying = None
        if (
            not self.copying
            and self.next_update >= self.saved.iteration + self.config.recovery_every
        ):
            self.copying = Copying(self._now(), self.timeout_s)

    def _keep(self, copied: Saved) -> None:
        if copied.iteration >= self.saved.iteration:
            self.saved = copied
            slots = self.workers.slots
            slots.keep(copied)
            used = {self.current, *slots.weights.values()}
            self.values = {ref: value for ref, value in self.values.items() if ref in used}

    def _hold(self, weights: Any) -> Any:
        """Bring weights to the driver's node, and keep them there; return the reference.

        Raises:
            ProcessLostError: they were lost with the learner's node.
        """
        try:
            self.values[weights] = self._wait(weights, SENDING)
        except ObjectLostError as error:
            raise ProcessLostError(str(error), with_its_node=True) from error
        return weights

    def _call(self, method: str, *arguments: Any, doing: str) -> Any:
        return self._retry(
            lambda: self._wait(getattr(self.actor, method).remote(*arguments), doing)
        )

    def placement(self) -> Placement:
        """Wait until the learner is up; return how it computes."""
        return self._retry(self._wait_until_started)

    def weights(self) -> Any:
        """Return a reference to the current weights."""
        if self.current is None:
            self.current = self._retry(lambda: self._hold(self.actor.weights.remote()))
        return self.current

    def acting_weights(self) -> Any:
        """Return a reference to what the next batch is collected with."""
        return self._retry(lambda: self._hold(self.actor.acting_weights.remote()))

    def fetch(self, weights: Any) -> Weights:
        """Bring weights to this process."""
        return self.values[weights] if weights in self.values else self._wait(weights, SENDING)

    def update(self, rollouts: Sequence[Any]) -> tuple[Any, Update]:
        """Improve the policy by one batch of references; return one to the new weights."""
        slots = self.workers.slots
        self.next_update = slots.next_iteration - 1
        if self.saved.iteration == START:
            self.saved = replace(self.saved, iteration=self.next_update, points=slots.saved)

        def attempt() -> tuple[Any, Any, Update]:
            nonlocal rollouts
            if slots.next_iteration == self.next_update:
                # the iterations before were repeated, so the slots stand before this one
                collecting = self.workers.collect(self.acting, self.next_update)
                rollouts = collecting.result().rollouts
            return self._update(rollouts)

        while True:
            try:
                self.current, self.last_state, update = self._retry(attempt)
                break
            except ObjectLostError:
                rollouts = self.workers.replay(rollouts)
        self.next_update += 1
        if slots.repeatable():
            self._save_beside_training()
        else:
            # nothing could be repeated from an earlier state
            self._save()
        return self.current, update

    def _update(self, rollouts: Sequence[Any]) -> tuple[Any, Any, Update]:
        """Return references to weights and state, and what was measured."""
        call = self.process.method("update", num_returns=3)
        weights, state, update = call.remote(*rollouts)
        measured = self._wait(update, "updating the policy")
        # the learner's node may be lost
        return self._hold(weights), state, measured

    def state(self) -> LearnerState:
        """Fetch the learner's state to this process."""
        if self.last_state is None:
            return self._call("state", doing="copying its state")

        def attempt() -> LearnerState:
            try:
                return self._wait(self.last_state, "copying its state")
            except ObjectLostError as error:
                raise ProcessLostError(str(error), with_its_node=True) from error

        state = self._retry(attempt)
        self._save()
        return state

    def load(self, state: LearnerState) -> None:
        """Continue from a state."""
        self.last_state = ray.put(state)
        self._call("load", self.last_state, doing="loading a checkpoint")
        self._renew()

    def start_from(self, state: LearnerState) -> None:
        """Take over another run's networks."""
        self._call("start_from", ray.put(state), doing="loading another run's policy")
        self.last_state = self.actor.state.remote()
        self._renew()

    def _renew(self) -> None:
        self.current = None
        self.weights()
        self._save()

    def faults(self) -> ProcessFaults:
        """Count the processes that were replaced."""
        return ProcessFaults(learner_restarts=self.num_restarts)

    def close(self) -> None:
        """End the process."""
        self.process.end()
