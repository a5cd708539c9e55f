"""Watchers that guard learning: they save the batch of a rolled-back update, and undo a collapse.

RUN/anomalies/ITERATION/batch.safetensors   the batch of the update, by slot
RUN/anomalies/ITERATION/statistics.json     what was measured of it
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
from distpg.run.checkpointer import Checkpointer
from distpg.run.directory import RunDir, write_atomically
from distpg.train import LearnerProtocol

IN_A_ROW = 10
"""Rolled-back updates, one after the other, that end a run under `--on-anomaly skip`."""


class SaveAnomalies:
    """Saves the batch of every rolled-back update, and decides whether the run ends."""

    def __init__(
        self,
        config: Config,
        run: RunDir,
        fetch: Callable[[Sequence[Any]], Sequence[Rollout]],
        say: Callable[[str], None],
    ) -> None:
        """Take where to save, how rollouts are fetched, and where to report."""
        self.config = config
        self.run = run
        self.fetch = fetch
        self.say = say
        self.in_a_row = 0

    def on_iteration(self, iteration: Iteration) -> None:
        """Save the batch if the update was rolled back.

        Raises:
            RunError: it was, and the run is to end then.
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
        if self.config.on_anomaly == "stop" or self.in_a_row >= IN_A_ROW:
            raise RunError(
                f"{message}; continue with --on-anomaly skip, or restart with a smaller "
                "--learning-rate"
            )
        self.say(message)

    def _save(self, iteration: Iteration) -> str:
        """Write batch and statistics; return where they are, or why not."""
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
    """List a rollout's arrays, those of an observation under obs/."""
    yield from ((f"obs/{leaf}", array) for leaf, array in rollout.obs.items())
    yield from ((name, x) for name, x in vars(rollout).items() if isinstance(x, np.ndarray))


class Rollback:
    """Rolls the learner back to the best checkpoint when an evaluation shows a collapse."""

    def __init__(
        self,
        learner: LearnerProtocol,
        checkpointer: Checkpointer,
        fraction: float,
        say: Callable[[str], None],
    ) -> None:
        """Take by what fraction of the best an evaluation may fall short of it."""
        self.learner = learner
        self.checkpointer = checkpointer
        self.fraction = fraction
        self.say = say
        self.count = 0

    def on_iteration(self, iteration: Iteration) -> None:
        """Compare the evaluation, if there was one, with the best."""
        if iteration.evaluation is None:
            return
        value, best_return = iteration.evaluation.mean_return, self.checkpointer.best_return
        if value >= best_return - self.fraction * abs(best_return):
            return
        message = f"the evaluation return fell from {best_return:.1f} to {value:.1f}"
        best = self.checkpointer.best()
        if best is None:
            self.say(f"{message}, and there is no best checkpoint to roll back to")
            return
        # the counters continue: only the policy and what trains it are older
        now = self.learner.state()
        policy = dataclasses.replace(best.learner.policy, version=now.policy.version)
        self.learner.load(dataclasses.replace(best.learner, policy=policy, counters=now.counters))
        self.count += 1
        self.say(f"{message}: rolled back to the best checkpoint")
