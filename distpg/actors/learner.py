"""The learner as an actor: replaced, and restored from its last state, if it dies or hangs."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray

from distpg.actors.cluster import cpus_left, learner_gpus
from distpg.actors.learner_actor import LearnerActor
from distpg.actors.restarts import Restarts
from distpg.actors.wait import fetch
from distpg.config.config import Config
from distpg.errors import ObjectLostError
from distpg.iteration import ProcessFaults, Update
from distpg.records import LearnerState, Weights
from distpg.spaces import ActionSpec, ObsSpec

Result = TypeVar("Result")


class RayLearner:
    """A learner in its own process, on a GPU if the cluster has one to give.

    Its state after each update is an object outside of it. A process that restores it and repeats
    the update on the same rollouts ends in the same weights, bit for bit.
    """

    def __init__(
        self, config: Config, obs_spec: ObsSpec, action_spec: ActionSpec, restarts: Restarts
    ) -> None:
        """Start the process; `placement` waits for it."""
        self.timeout_s = config.phase_timeout
        self.arguments = (config, obs_spec, action_spec)
        self.restarts = restarts
        self.replay: Callable[[Sequence[Any]], Sequence[Any]] | None = None
        """Collects those of the last rollouts again that were lost with a node."""
        self.num_restarts = 0
        self.last_state: Any = None
        """A reference to the state after the last update, or to the state that was loaded."""
        self.current: Any = None
        """A reference to the current weights."""
        self.restored = True
        """Whether the process has the last state."""
        self._start()

    def _start(self, num_cpus: int = 1) -> None:
        gpus = learner_gpus(self.arguments[0])
        self.actor: Any = ray.remote(num_cpus=num_cpus, num_gpus=gpus)(LearnerActor).remote(
            *self.arguments
        )

    def _replace(self) -> None:
        ray.kill(self.actor)
        self.num_restarts += 1
        self.restored = False
        self._start(cpus_left(self.arguments[0]))

    def _wait(self, ref: Any, doing: str) -> Any:
        return fetch([ref], ["the learner"], doing=doing, timeout_s=self.timeout_s)[0]

    def _retry(self, attempt: Callable[[], Result]) -> Result:
        """Try on this process or on its replacements, which are restored first."""

        def restored() -> Result:
            if not self.restored:
                self._wait(self.actor.placement.remote(), "starting")
                if self.last_state is not None:
                    self._wait(self.actor.load.remote(self.last_state), "loading its state")
                self.restored = True
            return attempt()

        return self.restarts.retry(restored, self._replace)

    def _call(self, method: str, *arguments: Any, doing: str) -> Any:
        return self._retry(
            lambda: self._wait(getattr(self.actor, method).remote(*arguments), doing)
        )

    def placement(self) -> tuple[str, int]:
        """Wait until the learner is up; return its device and number of threads."""
        return self._call("placement", doing="starting")

    def weights(self) -> Any:
        """Return a reference to the current weights."""
        if self.current is None:
            self.current = self.actor.weights.remote()
        return self.current

    def acting_weights(self) -> Any:
        """Return a reference to what the next batch is collected with."""
        return self.actor.acting_weights.remote()

    def fetch(self, weights: Any) -> Weights:
        """Bring weights to this process."""
        return self._wait(weights, "sending its weights")

    def update(self, rollouts: Sequence[Any]) -> tuple[Any, Update]:
        """Improve the policy by one batch of references; return one to the new weights."""

        def attempt() -> tuple[Any, Any, Update]:
            call = self.actor.update.options(num_returns=3)
            weights, state, update = call.remote(*rollouts)
            return weights, state, self._wait(update, "updating the policy")

        while True:
            try:
                weights, state, update = self._retry(attempt)
                break
            except ObjectLostError:
                if self.replay is None:
                    raise
                rollouts = self.replay(rollouts)
        # to this machine, since the learner's may be lost
        ray.wait([weights, state], num_returns=2, timeout=self.timeout_s)
        self.last_state, self.current = state, weights
        return weights, update

    def state(self) -> LearnerState:
        """Fetch the learner's state."""
        if self.last_state is None:
            return self._call("state", doing="copying its state")
        return self._wait(self.last_state, "copying its state")

    def load(self, state: LearnerState) -> None:
        """Continue from a state."""
        self.last_state = ray.put(state)
        self._call("load", self.last_state, doing="loading a checkpoint")
        self.current = self.actor.weights.remote()

    def start_from(self, state: LearnerState) -> None:
        """Take over another run's networks."""
        self._call("start_from", ray.put(state), doing="loading another run's policy")
        self.last_state = self.actor.state.remote()
        self.current = self.actor.weights.remote()

    def faults(self) -> ProcessFaults:
        """Count the processes that were replaced."""
        return ProcessFaults(learner_restarts=self.num_restarts)

    def close(self) -> None:
        """End the process."""
        ray.kill(self.actor)
