"""Watchers that end a run early."""

import math
from collections.abc import Mapping
from typing import Any

from distpg.iteration import Iteration, Response
from distpg.report.numbers import format_return
from distpg.report.watcher import Watcher


class StopAfter(Watcher):
    """Ends the run after so many seconds of training, those before a resume included."""

    def __init__(self, seconds: float) -> None:
        """Initialize; start-up does not count."""
        self.seconds = seconds

    def on_iteration(self, iteration: Iteration) -> Response | None:
        """Ask for the end when the time is over."""
        over = iteration.scalars["time/time_elapsed"] >= self.seconds
        return Response(stop="max_seconds") if over else None


class StopAtEvaluation(Watcher):
    """Ends the run when the mean return of an evaluation reaches a value."""

    def __init__(self, mean_return: float) -> None:
        """Initialize."""
        self.mean_return = mean_return

    def on_iteration(self, iteration: Iteration) -> Response | None:
        """Ask for the end after such an evaluation."""
        evaluation = iteration.evaluation
        reached = evaluation is not None and evaluation.mean_return >= self.mean_return
        return Response(stop="eval_return") if reached else None


class StopOnPlateau(Watcher):
    """Ends the run when a scalar has not improved for a while."""

    def __init__(
        self,
        patience: int = 50,
        min_gain: float = 0.0,
        tag: str = "rollout/ep_rew_mean",
    ) -> None:
        """Initialize.

        Args:
            patience: Values of the scalar without improvement that end the run, at least 1.
            min_gain: What the best value must be exceeded by.
            tag: The scalar; iterations without it, or where it is NaN, do not count.
        """
        if patience < 1:
            raise ValueError(f"patience is {patience}; at least 1 is allowed")
        self.patience = patience
        self.min_gain = min_gain
        self.tag = tag
        self.best = -math.inf
        self.waited = 0
        """Values since the best one."""

    def on_iteration(self, iteration: Iteration) -> Response | None:
        """Compare the value with the best one, and ask for the end after `patience` others."""
        value = iteration.scalars.get(self.tag, math.nan)
        if math.isnan(value):
            return None
        if value > self.best + self.min_gain:
            self.best, self.waited = value, 0
            return None
        self.waited += 1
        if self.waited < self.patience:
            return None
        best = format_return(self.best)
        return Response(
            stop=f"plateau: {self.tag} has not exceeded {best} for {self.waited} values"
        )

    def state(self) -> Mapping[str, Any]:
        """Return the best value, and how long ago it was."""
        best = None if math.isinf(self.best) else self.best
        return {"best": best, "waited": self.waited}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on comparing."""
        self.best = -math.inf if state["best"] is None else float(state["best"])
        self.waited = int(state["waited"])
