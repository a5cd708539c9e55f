"""`resume`: continue a run from its newest checkpoint."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, TypedDict, Unpack

import tyro

from distpg.envs.make import MakeEnv, find_source
from distpg.errors import InputError
from distpg.run.checkpoint import Checkpoint
from distpg.run.directory import RunDir
from distpg.run.execute import Outcome, Plan, execute
from distpg.run.loading import load_newest


class ResumeChanges(TypedDict, total=False):
    """Settings of a run that its resume may change."""

    total_steps: int
    """New total of env steps, including those done."""
    stop_at_return: float | None
    """Mean return to stop at; none never stops before --total-steps."""
    num_workers: int
    """Rollout worker processes; they affect only the speed."""
    address: str | None
    """Ray cluster to join; none runs locally."""
    device: Literal["auto", "cpu", "cuda"]
    """Device of the learner; auto uses a GPU if there is one."""
    on_anomaly: Literal["stop", "skip"]
    """Stop or continue after an update that produced NaN or inf."""
    max_env_faults: int
    """Maximum env exceptions, counting those before the resume."""


@dataclass(frozen=True, kw_only=True)
class ResumeFlags:
    """Continue a run from its newest checkpoint. Settings default to the run's own."""

    run: tyro.conf.Positional[Path] = tyro.MISSING
    """The run directory."""
    changes: Annotated[ResumeChanges, tyro.conf.arg(name="")] = field(default_factory=ResumeChanges)
    quiet: bool = False
    """Print nothing but errors."""


def main(flags: ResumeFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    outcome = resume(flags.run, quiet=flags.quiet, started=started, **flags.changes)
    return 128 + outcome.signal if outcome.signal else 0


def resume(
    run_dir: Path | str,
    *,
    make_env: MakeEnv | None = None,
    quiet: bool = False,
    started: float | None = None,
    **changes: Unpack[ResumeChanges],
) -> Outcome:
    """Go on with a run: same directory, TensorBoard curve, counters and optimizer.

    Args:
        run_dir: The run.
        make_env: Makes one environment, for a run that was trained with a callable.
        quiet: Print nothing.
        started: Unix time from which the result's seconds are counted; by default now.
        changes: Settings that replace the run's own: `total_steps`, `stop_at_return`,
            `num_workers`, `address`, `device`, `on_anomaly` or `max_env_faults`.

    Raises:
        InputError: there is nothing to go on with, or nothing left to do.
    """
    run = RunDir.open(Path(run_dir))
    config = run.read_config(**changes)
    checkpoint, notes = load_newest(run)
    if "labels" in checkpoint.learner.counters:
        raise InputError(
            f"{run.path} imitates an expert, whose labels are not kept; go on from it with "
            f"train --config {run.config} --init-from {run.path}"
        )
    if not checkpoint.slots and not config.episodes:
        checkpoint = with_fresh_envs(checkpoint)
        notes.append(
            f"resumed inexactly: {config.env_id} does not tell its state, so its envs start anew"
        )
    progress = checkpoint.progress
    if progress.reached(config.stop_at_return):
        raise InputError(
            f"{run.path} has reached the mean return of {config.stop_at_return:g}; give a higher "
            "--stop-at-return, or none, to go on"
        )
    if progress.env_steps >= config.total_steps:
        raise InputError(
            f"{run.path} has done {progress.env_steps} of {config.total_steps} steps; give a "
            "higher --total-steps to go on"
        )
    source = find_source(config, make_env)
    plan = Plan(
        config,
        source,
        run,
        quiet=quiet,
        resume=checkpoint,
        notes=tuple(notes),
        started=started or time.time(),
    )
    return execute(plan)


def with_fresh_envs(checkpoint: Checkpoint) -> Checkpoint:
    """Forget the returns of the episodes under way: the envs of a resumed run start anew."""
    learner = checkpoint.learner
    kept = {name: x for name, x in learner.arrays.items() if name != "reward_scale/running"}
    return replace(checkpoint, learner=replace(learner, arrays=kept))
