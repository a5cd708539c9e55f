"""A rollout worker process: a thin shell around one or more slots.

The driver sees this class too, so what needs torch is imported in the worker's process alone.
"""

from typing import TYPE_CHECKING, Any

from distpg.config import Config
from distpg.envs.make import EnvSource
from distpg.records import Evaluation, Weights

if TYPE_CHECKING:
    from distpg.evaluation import Evaluator


class RolloutActor:
    """Hosts slots; computes each exactly as it would be computed anywhere else."""

    def __init__(
        self, config: Config, source: EnvSource, slots: list[int], incarnation: int
    ) -> None:
        """Make the slots' envs and policies."""
        import torch

        from distpg.rollout import RolloutWorker

        torch.set_num_threads(1)
        self.config = config
        self.source = source
        self.slots = [
            RolloutWorker(config, source, slot, incarnation=incarnation) for slot in slots
        ]
        self.evaluator: Evaluator | None = None

    def ready(self) -> bool:
        """Answer once the constructor has run."""
        return True

    def collect(self, weights: Weights, iteration: int) -> list[Any]:
        """Play every slot: a rollout for each, then their statistics as one more object."""
        collected = [slot.collect(weights, iteration) for slot in self.slots]
        return [*(slot.rollout for slot in collected), [slot.stats for slot in collected]]

    def evaluate(self, weights: Weights) -> Evaluation:
        """Play evaluation episodes, on envs apart from the slots'."""
        if self.evaluator is None:
            from distpg.evaluation import Evaluator

            self.evaluator = Evaluator(self.config, self.source)
        return self.evaluator.evaluate(weights)
