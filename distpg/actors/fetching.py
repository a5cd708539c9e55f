"""Rollout workers for a learner in the driver's process."""

from typing import Any

import ray

from distpg.actors.workers import Playing, RayWorkers
from distpg.errors import ObjectLostError
from distpg.phases import Collection


class Fetching(Playing):
    """Rollouts that workers were asked for, to be brought here."""

    def result(self) -> Collection:
        """Wait for them, and fetch them; those that are lost on the way are played again."""
        played = super().result()
        rollouts = played.rollouts
        while True:
            try:
                return played._replace(rollouts=self.workers.fetch(rollouts))
            except ObjectLostError:
                rollouts = self.workers.replay(rollouts)


class FetchingWorkers(RayWorkers):
    """Takes weights and returns rollouts themselves, where others pass references on."""

    def collect(self, weights: Any, iteration: int) -> Fetching:
        """Have every slot played."""
        ref = ray.put(weights)
        asked = [self.ask(worker, ref, iteration) for worker in range(len(self.actors))]
        return Fetching(self, asked, ref, iteration)
