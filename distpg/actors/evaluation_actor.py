"""The evaluation process: plays episodes with a frozen policy while training goes on.

The driver sees this class too, so what needs torch is imported in the process alone.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import ray

from distpg.actors.process import Located
from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.iteration import Evaluation
from distpg.records import Weights


class EvaluationActor(Located):
    """Plays an evaluation in parts, between which it serves other calls."""

    def __init__(self, config: Config, source: EnvSource) -> None:
        """Take what the envs are made of; `make_envs` has to follow."""
        self.arguments = config, source
        self.playing = False
        self.answer: Evaluation | Exception | None = None
        """Of the last evaluation, once it is done."""

    def make_envs(self) -> None:
        """Make the envs."""
        from distpg.policy.operations import use_one_thread
        from distpg.rollout.evaluation import Evaluator

        # for environments that import torch; Ray leaves a value that the user has set
        os.environ["OMP_NUM_THREADS"] = "1"
        use_one_thread()
        self.evaluator = Evaluator(*self.arguments)

    def ready(self) -> bool:
        """Answer, if it is not busy."""
        return True

    def begin(self, weights: Weights, attributes: Mapping[str, Any]) -> None:
        """Begin an evaluation; no other is under way."""
        self.playing = True
        self._advance(lambda: self.evaluator.begin(weights, attributes))

    def play(self) -> None:
        """Play for a moment; then go on, after the calls that have come meanwhile."""
        if self.playing:
            self._advance(self.evaluator.advance)

    def _advance(self, play: Callable[[], Evaluation | None]) -> None:
        try:
            self.answer = play()
        except Exception as error:
            # nobody waits for the call, and `result` tells
            self.answer = error
        self.playing = self.answer is None
        if self.playing:
            ray.get_runtime_context().current_actor.play.remote()

    def result(self) -> Evaluation | None:
        """Return the result; None if the episodes are not done.

        Raises:
            Exception: they could not be played.
        """
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> list[str]:
        """Close the envs, which may have processes; return those that did not close in time."""
        self.playing = False
        return self.evaluator.close()
