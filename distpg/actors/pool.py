"""The loop's two partners as Ray actors: the driver passes references and small statistics on.

    driver             learner              workers
      | collect(weights ref) ------------------->|   each fetches the weights
      |<------------ rollout refs, statistics ---|
      | update(rollout refs) ->|                 |   the learner fetches the rollouts
      |<- weights ref, stats --|                 |

A method's return value is owned by the driver, so it outlives the actor that made it.
"""

from collections.abc import Sequence
from typing import Any

import ray

from distpg.actors.cluster import learner_gpus
from distpg.actors.learner_actor import LearnerActor
from distpg.actors.rollout_actor import RolloutActor
from distpg.actors.wait import fetch
from distpg.config import Config
from distpg.envs.make import EnvSource
from distpg.records import Evaluation, LearnerState, RolloutStats
from distpg.spaces import ActionSpec, ObsSpec
from distpg.train import Collection


class RayLearner:
    """A learner in a process of its own, on a GPU where the cluster has one to give."""

    def __init__(self, config: Config, obs_spec: ObsSpec, action_spec: ActionSpec) -> None:
        """Start the process; `placement` waits for it."""
        self.timeout_s = config.phase_timeout
        remote = ray.remote(num_cpus=1, num_gpus=learner_gpus(config))(LearnerActor)
        self.actor: Any = remote.remote(config, obs_spec, action_spec)

    def _fetch(self, ref: Any, doing: str) -> Any:
        return fetch([ref], ["the learner"], doing=doing, timeout_s=self.timeout_s)[0]

    def placement(self) -> tuple[str, int]:
        """Wait until the learner is up; return its device and number of threads."""
        return self._fetch(self.actor.placement.remote(), "starting")

    def weights(self) -> Any:
        """Return a reference to the current weights."""
        return self.actor.weights.remote()

    def update(self, rollouts: Sequence[Any]) -> tuple[Any, dict[str, float]]:
        """Improve the policy by one batch of references; return one to the new weights."""
        weights, stats = self.actor.update.options(num_returns=2).remote(*rollouts)
        return weights, self._fetch(stats, "updating the policy")

    def state(self) -> LearnerState:
        """Fetch the learner's state."""
        return self._fetch(self.actor.state.remote(), "copying its state")

    def load(self, state: LearnerState) -> None:
        """Have the learner go on from a state."""
        self._fetch(self.actor.load.remote(state), "loading a checkpoint")

    def start_from(self, state: LearnerState) -> None:
        """Have the learner take over another run's networks."""
        self._fetch(self.actor.start_from.remote(state), "loading another run's policy")

    def close(self) -> None:
        """End the process."""
        ray.kill(self.actor)


class RayWorkers:
    """Rollout workers, each a process that hosts a fixed share of the slots."""

    def __init__(self, config: Config, source: EnvSource) -> None:
        """Start the processes; `wait_until_ready` waits for them."""
        self.restarts = 0
        self.timeout_s = config.phase_timeout
        self.num_slots = config.slots
        slots = range(config.slots)
        self.shares = [list(slots[w :: config.num_workers]) for w in range(config.num_workers)]
        self.names = [
            f"rollout worker {w} (slots {', '.join(map(str, share))})"
            for w, share in enumerate(self.shares)
        ]
        remote = ray.remote(num_cpus=1)(RolloutActor)
        self.actors: list[Any] = [remote.remote(config, source, share) for share in self.shares]

    def wait_until_ready(self) -> None:
        """Wait until every worker has made its environments."""
        refs = [actor.ready.remote() for actor in self.actors]
        fetch(refs, self.names, doing="starting", timeout_s=self.timeout_s)

    def collect(self, weights: Any, iteration: int) -> Collection:
        """Play every slot with the weights that a reference stands for."""
        rollouts: dict[int, Any] = {}
        answers: list[Any] = []
        for actor, share in zip(self.actors, self.shares, strict=True):
            call = actor.collect.options(num_returns=len(share) + 1)
            *refs, answer = call.remote(weights, iteration)
            rollouts |= zip(share, refs, strict=True)
            answers.append(answer)
        doing = f"playing iteration {iteration}"
        told = fetch(answers, self.names, doing=doing, timeout_s=self.timeout_s)
        stats: list[RolloutStats] = sorted(
            (slot for worker in told for slot in worker), key=lambda slot: slot.slot
        )
        busy_s = [sum(slot.collect_s for slot in worker) for worker in told]
        return Collection([rollouts[slot] for slot in range(self.num_slots)], stats, busy_s)

    def evaluate(self, weights: Any) -> Evaluation:
        """Have the first worker play evaluation episodes."""
        ref = self.actors[0].evaluate.remote(weights)
        return fetch([ref], self.names[:1], doing="evaluating", timeout_s=self.timeout_s)[0]

    def close(self) -> None:
        """End the processes."""
        for actor in self.actors:
            ray.kill(actor)
