"""All slots in this process, one after the other: the same loop for a debugger, without Ray."""

from collections.abc import Sequence

import torch

from distpg.config import Config
from distpg.envs.make import EnvSource
from distpg.evaluation import Evaluator
from distpg.records import Evaluation, Rollout, Weights
from distpg.rollout import RolloutWorker
from distpg.train import Collection


class InProcessWorkers:
    """Plays the slots in turn."""

    def __init__(self, config: Config, source: EnvSource) -> None:
        """Make a rollout worker for each slot."""
        self.restarts = 0
        self.slots = [RolloutWorker(config, source, slot) for slot in range(config.slots)]
        self.evaluator = Evaluator(config, source) if config.eval_every else None

    def collect(self, weights: Weights, iteration: int) -> Collection:
        """Play every slot, on one torch thread as a worker process does."""
        torch.set_num_threads(1)
        collected = [slot.collect(weights, iteration) for slot in self.slots]
        rollouts: Sequence[Rollout] = [slot.rollout for slot in collected]
        stats = [slot.stats for slot in collected]
        return Collection(rollouts, stats, [sum(slot.collect_s for slot in stats)])

    def evaluate(self, weights: Weights) -> Evaluation:
        """Play evaluation episodes."""
        assert self.evaluator is not None, "evaluation is off"
        torch.set_num_threads(1)
        return self.evaluator.evaluate(weights)
