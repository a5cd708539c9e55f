"""A rollout worker process: a thin shell around one or more slots.

The driver sees this class too, so what needs torch is imported in the worker's process alone.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from typing import Any

from distpg.actors.counting import counting
from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.records import Weights
from distpg.rollout.slot_state import SlotState


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
        from distpg.policy.operations import use_one_thread
        from distpg.rollout.worker import RolloutWorker

        # for environments that import torch; Ray leaves a value that the user has set
        os.environ["OMP_NUM_THREADS"] = "1"
        use_one_thread()
        self.slots: list[RolloutWorker] = []
        self.has_collected = False
        with ExitStack() as failed:
            failed.callback(self.close)
            for slot, incarnation, state in zip(slots, incarnations, states, strict=True):
                self.slots.append(
                    RolloutWorker(config, source, slot, incarnation=incarnation, state=state)
                )
            failed.pop_all()
        # an environment's module may have imported torch before
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)

    def ready(self) -> bool:
        """Answer once the constructor has run."""
        return True

    def collect(self, weights: Weights, iteration: int, attributes: Mapping[str, Any]) -> list[Any]:
        """Collect: a rollout of each slot, then their states, then their statistics."""
        first, self.has_collected = not self.has_collected, True
        with counting(self.steps_done) if first else nullcontext():
            collected = [slot.collect(weights, iteration, attributes) for slot in self.slots]
        rollouts = [slot.rollout for slot in collected]
        return [*rollouts, [slot.state for slot in collected], [slot.stats for slot in collected]]

    def steps_done(self) -> int:
        """Count the env steps of all slots so far."""
        return sum(slot.envs.steps_done for slot in self.slots)

    def close(self) -> list[str]:
        """Close the envs, which may have processes; return those that did not close in time."""
        from distpg.rollout.closing import close_slots

        return close_slots({slot.slot: slot.envs for slot in self.slots})
