"""Rollout workers for a learner in the driver's process."""

from typing import Any

import ray

from distpg.actors.collecting import RayRollouts
from distpg.actors.recovery import Saved
from distpg.actors.workers import RayWorkers
from distpg.errors import ObjectLostError
from distpg.iteration import Collection


class FetchedRollouts(RayRollouts):
    """Rollouts that are fetched to this process."""

    def result(self) -> Collection:
        """Wait for them and fetch them; those that are lost on the way are collected again."""
        collection = super().result()
        rollouts, workers = collection.rollouts, self.workers
        assert isinstance(workers, RayWorkers), "fetching workers make them"
        while True:
            try:
                fetched = workers.fetch(rollouts)
                break
            except ObjectLostError:
                rollouts = workers.replay(rollouts)
        now = Saved(self.iteration + 1, None, workers.slots.points)
        if saved := now.copied(workers.config.phase_timeout):
            workers.slots.keep(saved)
        return collection._replace(rollouts=fetched)


class FetchingWorkers(RayWorkers):
    """Takes weights and returns rollouts by value; `RayWorkers` passes references on."""

    kind = FetchedRollouts

    def collect(self, weights: Any, iteration: int) -> RayRollouts:
        """Start a rollout of every slot."""
        return super().collect(ray.put(weights), iteration)
