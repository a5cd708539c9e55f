"""A rollout worker process: a thin shell around one or more slots.

The driver sees this class too, so what needs torch is imported in the worker's process alone.
"""

from typing import TYPE_CHECKING, Any

from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.iteration import Evaluation
from distpg.records import Weights
from distpg.rollout.slot_state import SlotState

if TYPE_CHECKING:
    from distpg.rollout.evaluation import Evaluator


class RolloutActor:
    """Hosts slots; computes each exactly as it would be computed anywhere else."""

    def __init__(
        self,
        config: Config,
        source: EnvSource,
        slots: list[int],
        incarnations: list[int],
        states: list[SlotState | None],
    ) -> None:
        """Make the slots' envs and policies, each from its state if it has one."""
        import torch

        from distpg.rollout.worker import RolloutWorker

        torch.set_num_threads(1)
        self.config = config
        self.source = source
        self.slots = [
            RolloutWorker(config, source, slot, incarnation=incarnation, state=state)
            for slot, incarnation, state in zip(slots, incarnations, states, strict=True)
        ]
        self.evaluator: Evaluator | None = None

    def ready(self) -> bool:
        """Answer once the constructor has run."""
        return True

    def collect(self, weights: Weights, iteration: int) -> list[Any]:
        """Collect: a rollout of each slot, then their states, then their statistics."""
        collected = [slot.collect(weights, iteration) for slot in self.slots]
        rollouts = [slot.rollout for slot in collected]
        return [*rollouts, [slot.state for slot in collected], [slot.stats for slot in collected]]

    def evaluate(self, weights: Weights) -> Evaluation:
        """Run evaluation episodes, on envs that no slot uses."""
        if self.evaluator is None:
            from distpg.rollout.evaluation import Evaluator

            self.evaluator = Evaluator(self.config, self.source)
        return self.evaluator.evaluate(weights)

    def close(self) -> None:
        """Close the envs, which may have processes of their own."""
        for owner in (*self.slots, *filter(None, [self.evaluator])):
            owner.envs.close()
