"""The evaluation process: plays episodes with a frozen policy while training goes on.

The driver sees this class too, so what needs torch is imported in the process alone.
"""

import os
from collections.abc import Mapping
from typing import Any

import ray

from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.iteration import Evaluation
from distpg.records import Weights


class EvaluationActor:
    """Plays evaluations one after the other, in parts, between which it serves other calls."""

    def __init__(self, config: Config, source: EnvSource) -> None:
        """Make the envs."""
        from distpg.policy.operations import use_one_thread
        from distpg.rollout.evaluation import Evaluator

        # for environments that import torch; Ray leaves a value that the user has set
        os.environ["OMP_NUM_THREADS"] = "1"
        use_one_thread()
        self.evaluator = Evaluator(config, source)
        self.waiting: dict[int, tuple[Weights, Mapping[str, Any]]] = {}
        """Policies that are not evaluated yet, and what to set in the envs, by iteration."""
        self.playing: int | None = None
        """The iteration whose policy is being evaluated."""
        self.results: dict[int, Evaluation | Exception] = {}

    def ready(self) -> bool:
        """Answer once the constructor has run."""
        return True

    def begin(self, iteration: int, weights: Weights, attributes: Mapping[str, Any]) -> None:
        """Have the policy of an iteration evaluated, after those that wait."""
        self.waiting[iteration] = weights, attributes
        if self.playing is None:
            self.play()

    def play(self) -> None:
        """Play for a moment; then go on, after the calls that have come meanwhile."""
        if self.playing is None and not self.waiting:
            return
        self._advance()
        if self.playing is not None or self.waiting:
            ray.get_runtime_context().current_actor.play.remote()

    def _advance(self) -> None:
        try:
            if self.playing is None:
                self.playing = next(iter(self.waiting))
                evaluation = self.evaluator.begin(*self.waiting.pop(self.playing))
            else:
                evaluation = self.evaluator.advance()
        except Exception as error:
            # nobody waits for the call, and `result` tells
            evaluation = error
        if evaluation is not None:
            assert self.playing is not None, "an evaluation was begun"
            self.results[self.playing], self.playing = evaluation, None

    def result(self, iteration: int) -> Evaluation | None:
        """Return a result, once; None if the episodes are not done.

        Raises:
            Exception: they could not be played.
        """
        result = self.results.pop(iteration, None)
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> list[str]:
        """Close the envs, which may have processes; return those that did not close in time."""
        self.waiting, self.playing = {}, None
        return self.evaluator.close()
