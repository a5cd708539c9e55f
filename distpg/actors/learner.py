"""The learner as an actor: one that dies or hangs is replaced, and takes up where it stood."""

from collections.abc import Callable, Sequence
from typing import Any

import ray

from distpg.actors.cluster import cpus_left, learner_gpus
from distpg.actors.learner_actor import LearnerActor
from distpg.actors.restarts import Restarts
from distpg.actors.wait import fetch
from distpg.config import Config
from distpg.errors import ObjectLostError, ProcessLostError
from distpg.records import LearnerState
from distpg.spaces import ActionSpec, ObsSpec


class RayLearner:
    """A learner in a process of its own, on a GPU where the cluster has one to give.

    Its state after each update is kept outside of it. Another process that takes that state and the
    same rollouts comes to the same weights, bit for bit.
    """

    def __init__(
        self, config: Config, obs_spec: ObsSpec, action_spec: ActionSpec, restarts: Restarts
    ) -> None:
        """Start the process; `placement` waits for it."""
        self.timeout_s = config.phase_timeout
        self.arguments = (config, obs_spec, action_spec)
        self.lost = restarts
        self.replay: Callable[[Sequence[Any]], Sequence[Any]] | None = None
        """Has those of the last rollouts played again that were lost with a machine."""
        self.restarts = 0
        """How often it was replaced."""
        self.kept: Any = None
        """A reference to its state after the last update, or to what it was given to start with."""
        self._start()

    def _start(self, num_cpus: int = 1) -> None:
        gpus = learner_gpus(self.arguments[0])
        self.actor: Any = ray.remote(num_cpus=num_cpus, num_gpus=gpus)(LearnerActor).remote(
            *self.arguments
        )

    def _fetch(self, ref: Any, doing: str) -> Any:
        return fetch([ref], ["the learner"], doing=doing, timeout_s=self.timeout_s)[0]

    def placement(self) -> tuple[str, int]:
        """Wait until the learner is up; return its device and number of threads."""
        return self._call("placement", doing="starting")

    def _call(self, method: str, *arguments: Any, doing: str) -> Any:
        """Call a method of the process, or of the one that takes its place."""
        in_a_row = 0
        while True:
            try:
                return self._fetch(getattr(self.actor, method).remote(*arguments), doing)
            except ProcessLostError as error:
                in_a_row = self._replace(error, in_a_row)

    def weights(self) -> Any:
        """Return a reference to the current weights."""
        return self.actor.weights.remote()

    def acting_weights(self) -> Any:
        """Return a reference to what the next batch is played with."""
        return self.actor.acting_weights.remote()

    def update(self, rollouts: Sequence[Any]) -> tuple[Any, dict[str, float]]:
        """Improve the policy by one batch of references; return one to the new weights."""
        in_a_row = 0
        while True:
            call = self.actor.update.options(num_returns=3)
            weights, state, stats = call.remote(*rollouts)
            try:
                told = self._fetch(stats, "updating the policy")
            except ObjectLostError:
                if self.replay is None:
                    raise
                rollouts = self.replay(rollouts)
            except ProcessLostError as error:
                in_a_row = self._replace(error, in_a_row)
            else:
                # to this machine, where the learner's may be lost
                ray.wait([weights, state], num_returns=2, timeout=self.timeout_s)
                self.kept = state
                return weights, told

    def _replace(self, lost: ProcessLostError, in_a_row: int) -> int:
        """Start another process, in the state after the last update; return `Restarts.count`'s."""
        while True:
            in_a_row = self.lost.count(lost, in_a_row)
            ray.kill(self.actor)
            self.restarts += 1
            self._start(cpus_left(self.arguments[0]))
            try:
                self._fetch(self.actor.placement.remote(), "starting")
                if self.kept is not None:
                    self._fetch(self.actor.load.remote(self.kept), "loading its state")
            except ProcessLostError as again:
                lost = again
            else:
                return in_a_row

    def state(self) -> LearnerState:
        """Fetch the learner's state."""
        if self.kept is None:
            return self._call("state", doing="copying its state")
        return self._fetch(self.kept, "copying its state")

    def load(self, state: LearnerState) -> None:
        """Have the learner go on from a state."""
        self.kept = ray.put(state)
        self._call("load", self.kept, doing="loading a checkpoint")

    def start_from(self, state: LearnerState) -> None:
        """Have the learner take over another run's networks."""
        self._call("start_from", ray.put(state), doing="loading another run's policy")
        self.kept = self.actor.state.remote()

    def close(self) -> None:
        """End the process."""
        ray.kill(self.actor)
