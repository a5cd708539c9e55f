"""End-of-run summary: `result.json` and suggested next commands."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from distpg.config.config import Config
from distpg.progress import Progress
from distpg.records import LearnerState
from distpg.report.clock import Clock, time_table
from distpg.report.numbers import format_return
from distpg.run.directory import RunDir


def summarize(
    config: Config,
    progress: Progress,
    reason: str,
    clock: Clock,
    state: LearnerState | None,
) -> dict[str, Any]:
    """Return the content of `result.json`: of all parts of a resumed run.

    After an error the learner's state is unknown.
    """
    solved = progress.reached(config.stop_at_return)
    packages = ("distpg", "torch", "numpy", "ray", "gymnasium")
    return {
        "algo": config.algo,
        "env_id": config.env_id,
        "seed": config.seed,
        "iterations": progress.iteration,
        "env_steps": progress.env_steps,
        "episodes": progress.episodes,
        "episode_return_mean": progress.mean_return,
        "stop_reason": reason,
        "solved_at_env_steps": progress.env_steps if solved else None,
        "solved_s": clock.trained_s if solved else None,
        "startup_s": clock.startup_s,
        "train_s": clock.train_s,
        "wall_s": clock.now(),
        "env_steps_per_s": clock.steps_per_s,
        "simulation_share": clock.simulation_share,
        "spent_s": clock.spent(overlap=config.overlap, evaluates=config.eval_every > 0),
        "trained_steps": state.counters["trained_steps"] if state else None,
        "dropped_steps": progress.dropped_steps,
        "dropped": dict(progress.dropped),
        "env_faults": progress.env_faults,
        "rolled_back_updates": progress.rolled_back_updates,
        "last_fault": progress.last_fault,
        "policy_version": state.policy.version if state else None,
        "versions": {"python": platform.python_version()}
        | {package: metadata.version(package) for package in packages},
    }


def program(name: str) -> str:
    """Return a program of this Python environment as a shell finds it, activated or not."""
    path = Path(sys.executable).with_name(name)
    if shutil.which(name) == str(path):
        return name
    try:
        here = Path.cwd()
    except FileNotFoundError:
        # an environment may have changed to a folder that it removed
        return str(path)
    return os.path.relpath(path) if path.is_relative_to(here) else str(path)


def command_line(*words: str) -> str:
    """Return a distpg command line, in the form in which this program was called."""
    launched = Path(sys.argv[0]).name == "launch.py"
    return " ".join((f"{program('python')} launch.py" if launched else program("distpg"), *words))


def next_steps(run: RunDir, result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that report the time spent, the run directory and the next commands."""
    yield from time_table(result["spent_s"], result["simulation_share"], result["env_steps_per_s"])
    yield f"the run:      {run.given}"
    folder = "runs" if run.given.is_relative_to("runs") else run.given
    best = result["best_evaluation"]
    if best is not None:
        mean = format_return(best["return_mean"])
        yield f"the best:     evaluation return {mean} after {best['env_steps']:,} env steps"
    yield f"watch it:     {program('tensorboard')} --logdir {folder}"
    which = () if best is None else ("--checkpoint", "best")
    yield f"evaluate it:  {command_line('evaluate', str(run.given), *which)}"


def continue_flags(result: dict[str, Any]) -> list[str]:
    """Return the flags that `resume` needs to continue a finished run."""
    flags = {
        "solved": ["--stop-at-return", "none"],
        "total_steps": ["--total-steps", str(2 * result["env_steps"])],
        "max_seconds": ["--max-seconds", "none"],
        "eval_return": ["--stop-at-eval-return", "none"],
    }
    return flags.get(result["stop_reason"], [])
