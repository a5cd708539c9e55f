"""Watchers that handle rolled-back updates and collapses of the evaluation return.

RUN/anomalies/ITERATION/batch.safetensors   batch of a rolled-back update, by slot
RUN/anomalies/ITERATION/statistics.json     statistics of that update
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import safetensors.numpy

from distpg.config.config import Config
from distpg.errors import RunError
from distpg.iteration import Iteration
from distpg.records import Rollout
from distpg.report.numbers import format_returns
from distpg.run.checkpointer import Checkpointer
from distpg.run.directory import RunDir, write_atomically
from distpg.train import LearnerProtocol

MAX_IN_A_ROW = 10
"""Consecutive rolled-back updates that stop a run despite `--on-anomaly skip`."""


class SaveAnomalies:
    """Saves the batch of every rolled-back update, and decides whether to stop the run."""

    def __init__(
        self,
        config: Config,
        run: RunDir,
        fetch: Callable[[Sequence[Any]], Sequence[Rollout]],
        say: Callable[[str], None],
    ) -> None:
        """Initialize.

        Args:
            config: The configuration, for `on_anomaly`.
            run: The run directory to save to.
            fetch: Returns the rollouts of their handles.
            say: Called with a message for each rolled-back update.
        """
        self.config = config
        self.run = run
        self.fetch = fetch
        self.say = say
        self.in_a_row = 0

    def on_iteration(self, iteration: Iteration) -> None:
        """Save the batch if the update was rolled back.

        Raises:
            RunError: it was, and the run is configured to stop.
        """
        if not iteration.update.rolled_back:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        scalars = iteration.update.scalars
        bad = [name for name, value in scalars.items() if not math.isfinite(value)]
        message = (
            f"the update of iteration {iteration.progress.iteration} was rolled back: "
            f"{', '.join(bad) or 'a parameter'} not finite; {self._save(iteration)}"
        )
        if self.config.on_anomaly == "stop" or self.in_a_row >= MAX_IN_A_ROW:
            raise RunError(
                f"{message}; continue with --on-anomaly skip, or restart with a smaller "
                "--learning-rate"
            )
        self.say(message)

    def _save(self, iteration: Iteration) -> str:
        """Write batch and statistics; return a sentence that reports where, or why not."""
        folder = self.run.anomalies / f"{iteration.progress.iteration:08d}"
        arrays = {
            f"{rollout.slot}/{name}": array
            for rollout in self.fetch(iteration.collection.rollouts)
            for name, array in named_arrays(rollout)
        }
        scalars = {name: str(value) for name, value in iteration.update.scalars.items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "batch.safetensors", safetensors.numpy.save(arrays))
            write_atomically(folder / "statistics.json", json.dumps(scalars, indent=2).encode())
        except OSError as error:
            return f"its batch could not be written: {error}"
        return f"its batch is in {folder}"


def named_arrays(rollout: Rollout) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a rollout's arrays by name; observation leaves are obs/LEAF."""
    yield from ((f"obs/{leaf}", array) for leaf, array in rollout.obs.items())
    yield from ((name, x) for name, x in vars(rollout).items() if isinstance(x, np.ndarray))


class Rollback:
    """Rolls the learner back to the best checkpoint when the evaluation return collapses."""

    def __init__(
        self,
        learner: LearnerProtocol,
        checkpointer: Checkpointer,
        fraction: float,
        say: Callable[[str], None],
    ) -> None:
        """Initialize.

        Args:
            learner: The learner to roll back.
            checkpointer: Provides the best return and the best checkpoint.
            fraction: A drop below the best return by more than this fraction of it is a collapse.
            say: Called with a message for each collapse.
        """
        self.learner = learner
        self.checkpointer = checkpointer
        self.fraction = fraction
        self.say = say
        self.count = 0
        """Number of rollbacks."""

    def on_iteration(self, iteration: Iteration) -> None:
        """Roll back if there was an evaluation, and it shows a collapse."""
        if iteration.evaluation is None:
            return
        mean_return, best_return = iteration.evaluation.mean_return, self.checkpointer.best_return
        if mean_return >= best_return - self.fraction * abs(best_return):
            return
        best_text, mean_text = format_returns(best_return, mean_return)
        message = f"the evaluation return fell from {best_text} to {mean_text}"
        best = self.checkpointer.best()
        if best is None:
            self.say(f"{message}, and there is no best checkpoint to roll back to")
            return
        # version and counters are not rolled back
        current = self.learner.state()
        policy = dataclasses.replace(best.learner.policy, version=current.policy.version)
        state = dataclasses.replace(best.learner, policy=policy, counters=current.counters)
        self.learner.load(state)
        self.count += 1
        self.say(f"{message}: rolled back to the best checkpoint")
