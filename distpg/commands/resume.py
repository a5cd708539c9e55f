"""`resume`: go on with a run where its newest checkpoint left it."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from distpg.assembly import Outcome, Plan, execute
from distpg.checkpoint import load_newest
from distpg.envs.make import MakeEnv, find_env, source_of
from distpg.errors import InputError
from distpg.run_dir import RunDir


@dataclass(frozen=True, kw_only=True)
class ResumeFlags:
    """Go on with a run."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run directory."""
    total_steps: int | None = None
    """Env steps to go on to, those done included. Default: the run's own."""
    stop_at_return: float | None = None
    """Mean return to stop at. Default: the run's own."""
    quiet: bool = False
    """Print nothing but errors."""


def main(arguments: list[str], program: str, started: float) -> int:
    """Run the sub-command; return its exit code."""
    flags = tyro.cli(ResumeFlags, prog=program, args=arguments)
    outcome = resume(
        flags.run,
        total_steps=flags.total_steps,
        stop_at_return=flags.stop_at_return,
        quiet=flags.quiet,
        started=started,
    )
    return 128 + outcome.signal if outcome.signal else 0


def resume(
    run_dir: Path | str,
    *,
    total_steps: int | None = None,
    stop_at_return: float | None = None,
    make_env: MakeEnv | None = None,
    quiet: bool = False,
    started: float | None = None,
) -> Outcome:
    """Go on with a run: same directory, TensorBoard curve, counters and optimizer.

    Args:
        run_dir: The run.
        total_steps: Env steps to go on to; by default the run's own.
        stop_at_return: Mean return to stop at; by default the run's own.
        make_env: Makes one environment, for a run that was trained with a callable.
        quiet: Print nothing.
        started: Unix time from which the result's seconds are counted; by default now.

    Raises:
        InputError: there is nothing to go on with, or nothing left to do.
    """
    run = RunDir.open(Path(run_dir))
    config = run.read_config()
    if total_steps is not None:
        config = dataclasses.replace(config, total_steps=total_steps)
    if stop_at_return is not None:
        config = dataclasses.replace(config, stop_at_return=stop_at_return)
    checkpoint = load_newest(run)
    progress = checkpoint.progress
    if progress.reached(config.stop_at_return):
        raise InputError(
            f"{run.path} has reached the mean return of {config.stop_at_return:g}; give a higher "
            "--stop-at-return to go on"
        )
    if progress.env_steps >= config.total_steps:
        raise InputError(
            f"{run.path} has done {progress.env_steps} of {config.total_steps} steps; give a "
            "higher --total-steps to go on"
        )
    source = (
        find_env(config.env_id, config.env_kwargs)
        if make_env is None
        else source_of(make_env, config.env_kwargs)
    )
    plan = Plan(config, source, run, quiet=quiet, resume=checkpoint, started=started or time.time())
    return execute(plan)
