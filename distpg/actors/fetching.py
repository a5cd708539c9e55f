"""Rollout workers for a learner in the driver's process."""

from typing import Any

import ray

from distpg.actors.workers import RayRollouts, RayWorkers
from distpg.errors import ObjectLostError
from distpg.iteration import Collection


class FetchedRollouts(RayRollouts):
    """Rollouts that are fetched to this process."""

    def result(self) -> Collection:
        """Wait for them and fetch them; those that are lost on the way are collected again."""
        collection = super().result()
        rollouts = collection.rollouts
        while True:
            try:
                return collection._replace(rollouts=self.workers.fetch(rollouts))
            except ObjectLostError:
                rollouts = self.workers.replay(rollouts)


class FetchingWorkers(RayWorkers):
    """Takes weights and returns rollouts by value; `RayWorkers` passes references on."""

    def collect(self, weights: Any, iteration: int) -> FetchedRollouts:
        """Start a rollout of every slot."""
        ref = ray.put(weights)
        requests = [self.request(worker, ref, iteration) for worker in range(len(self.actors))]
        return FetchedRollouts(self, requests, ref, iteration)
