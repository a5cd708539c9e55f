"""A trial's runs on disk, and how far they are.

FOLDER/trial-N/settings.toml   all settings of the trial, a file for `distpg train --config`
FOLDER/trial-N/seed-M/         the run directory of a seed
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distpg.iteration import Iteration, Response
from distpg.many_runs.run_files import RUNG, UNFINISHED, result_of
from distpg.report.watcher import Watcher
from distpg.run.directory import RunDir
from distpg.tuning.space import Objective


class StopAtRung(Watcher):
    """Ends a run after the iteration that reaches so many env steps."""

    def __init__(self, env_steps: int) -> None:
        """Take the env steps."""
        self.env_steps = env_steps

    def on_iteration(self, iteration: Iteration) -> Response | None:
        """Ask for the end there."""
        reached = iteration.progress.env_steps >= self.env_steps
        return Response(stop=RUNG) if reached else None


@dataclass(frozen=True)
class TrialRun:
    """A seed of a trial."""

    directory: RunDir
    settings: Path
    seed: int

    def __str__(self) -> str:
        return f"seed {self.seed}"

    def words(self, env_steps: int) -> list[str]:
        """Return the arguments of `commands/advance.py` that bring it to a rung."""
        return [str(self.settings), str(self.seed), str(self.directory.given), str(env_steps)]

    def has_reached(self, env_steps: int) -> bool:
        """Return whether it is at a rung, or has ended by itself before, as solved."""
        result = result_of(self.directory)
        reason = result.get("stop_reason", "error")
        if reason == RUNG:
            return result["env_steps"] >= env_steps
        return reason not in UNFINISHED

    def value(self, objective: Objective) -> float | None:
        """Return what it has reached by now; None if no episode has ended."""
        found = value_in(result_of(self.directory), objective)
        return found if found is not None and math.isfinite(found) else None


def value_in(result: Mapping[str, Any], objective: Objective) -> float | None:
    """Return the objective, of the content of `result.json`."""
    if objective == "last_evaluation":
        return (result["evaluation"] or {}).get("return_mean")
    return result["episode_return_mean"]
