"""Learning that goes wrong: updates that are taken back, and a policy that has collapsed.

RUN/anomalies/ITERATION/batch.safetensors   the batch of an update that was taken back, by slot
RUN/anomalies/ITERATION/statistics.json     what the update came to
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.numpy

from distpg.checkpointer import Checkpointer
from distpg.config import Config
from distpg.errors import RunError
from distpg.phases import UNDONE, Scalars
from distpg.progress import Progress
from distpg.records import LearnerState, Rollout
from distpg.run_dir import RunDir, write_whole

IN_A_ROW = 10
"""Updates taken back, one after the other, that end a run under `--on-anomaly skip`."""


class Safeguard:
    """Stands before a learner, and holds the weights that the loop goes on with."""

    def __init__(
        self,
        learner: Any,
        config: Config,
        run: RunDir,
        iteration: int,
        open_rollouts: Callable[[Sequence[Any]], Sequence[Rollout]],
        say: Callable[[str], None],
    ) -> None:
        """Take the learner, the iterations it has done, how rollouts are read, and whom to tell."""
        self.learner = learner
        self.config = config
        self.run = run
        self.open_rollouts = open_rollouts
        self.say = say
        self.current: Any = learner.weights()
        self.iteration = iteration
        self.undone = self.in_a_row = 0
        """How many updates were taken back, and now in a row."""

    def weights(self) -> Any:
        """Return the current weights."""
        return self.current

    def acting_weights(self) -> Any:
        """Return what the next batch is played with."""
        return self.learner.acting_weights()

    def state(self) -> LearnerState:
        """Return the learner's state."""
        return self.learner.state()

    def update(self, rollouts: Sequence[Any]) -> tuple[Any, Scalars]:
        """Improve the policy by one batch.

        Raises:
            RunError: the update was taken back, and the run is to end then.
        """
        self.iteration += 1
        self.current, scalars = self.learner.update(rollouts)
        self.in_a_row = self.in_a_row + 1 if UNDONE in scalars else 0
        if UNDONE in scalars:
            self.undone += 1
            self._keep(self.open_rollouts(rollouts), scalars)
        return self.current, scalars

    def _keep(self, rollouts: Sequence[Rollout], scalars: Mapping[str, float]) -> None:
        folder = self.run.anomalies / f"{self.iteration:08d}"
        arrays = {
            f"{rollout.slot}/{name}": array
            for rollout in rollouts
            for name, array in named(rollout)
        }
        text = json.dumps({name: str(value) for name, value in scalars.items()}, indent=2)
        kept = f"its batch is in {folder}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / "batch.safetensors", safetensors.numpy.save(arrays))
            write_whole(folder / "statistics.json", text.encode())
        except OSError as error:
            kept = f"its batch could not be written: {error}"
        bad = [name for name, value in scalars.items() if not math.isfinite(value)]
        told = (
            f"the update of iteration {self.iteration} was taken back: "
            f"{', '.join(bad) or 'a parameter'} not finite; {kept}"
        )
        if self.config.on_anomaly == "stop" or self.in_a_row >= IN_A_ROW:
            raise RunError(
                f"{told}; go on with --on-anomaly skip, or begin anew with a smaller "
                "--learning-rate"
            )
        self.say(told)

    def go_back(self, to: LearnerState) -> None:
        """Have the learner take over an earlier state; its counts go on."""
        now = self.learner.state()
        policy = dataclasses.replace(to.policy, version=now.policy.version)
        self.learner.load(dataclasses.replace(to, policy=policy, counters=now.counters))
        self.current = self.learner.weights()


def named(rollout: Rollout) -> Iterator[tuple[str, np.ndarray]]:
    """List a rollout's arrays, those of an observation under obs/."""
    yield from ((f"obs/{leaf}", array) for leaf, array in rollout.obs.items())
    yield from ((name, x) for name, x in vars(rollout).items() if isinstance(x, np.ndarray))


class Rollback:
    """Goes back to the best checkpoint where an evaluation finds the policy collapsed."""

    def __init__(
        self,
        safeguard: Safeguard,
        checkpointer: Checkpointer,
        share: float,
        say: Callable[[str], None],
    ) -> None:
        """Take by what share of the best an evaluation may fall short of it."""
        self.safeguard = safeguard
        self.checkpointer = checkpointer
        self.share = share
        self.say = say
        self.count = 0

    def on_iteration(self, progress: Progress, scalars: Scalars, weights: object) -> None:
        """Look at the evaluation, if there was one."""
        score, best_score = scalars.get("eval/mean_reward"), self.checkpointer.best_score
        if score is None or score >= best_score - self.share * abs(best_score):
            return
        told = f"the evaluation fell from {best_score:.1f} to {score:.1f}"
        best = self.checkpointer.best()
        if best is None:
            self.say(f"{told}, and there is no best checkpoint to go back to")
            return
        self.safeguard.go_back(best.learner)
        self.count += 1
        self.say(f"{told}: went back to the best checkpoint")
