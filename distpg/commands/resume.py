"""`resume`: continue a run from its newest checkpoint."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Unpack

import tyro

from distpg.config.names import Importable, check_same_names
from distpg.config.values import one_of
from distpg.envs.make import MakeEnv, find_source
from distpg.errors import InputError
from distpg.many_runs.run_files import is_finished, result_of
from distpg.rollout.attributes import EnvAttributes
from distpg.run.checkpoint import Checkpoint
from distpg.run.directory import RunDir
from distpg.run.execute import Outcome, execute, exit_code_of, to_caller
from distpg.run.given_watchers import AnyWatcher, watchers_of
from distpg.run.loading import load_newest
from distpg.run.plan import Plan


class ResumeChanges(TypedDict, total=False):
    """Settings of a run that its resume may change."""

    total_steps: int
    """New total of env steps, including those done."""
    stop_at_return: float | None
    """Mean return to stop at; none never stops before --total-steps."""
    max_seconds: float | None
    """Seconds of training to stop after, including those done; none for no limit."""
    stop_at_eval_return: float | None
    """Mean return of an evaluation to stop at; none never stops for it."""
    num_workers: int
    """Rollout worker processes; they affect only the speed."""
    address: str | None
    """Ray cluster to join; none runs locally."""
    min_workers: int | None
    """Workers with which training starts; none for all."""
    learner_label: str | None
    """Place the learner on nodes with this Ray label, as key=value; none for any."""
    worker_label: str | None
    """Place workers on nodes with this Ray label, as key=value; none for any."""
    wait_for_resources: float
    """Seconds to wait for CPUs and a GPU that are not free; 0 refuses at once."""
    device: Literal["auto", "cpu", "cuda"]
    """Device of the learner; auto uses a GPU if there is one."""
    compile: Literal["on", "off"]
    """Compile updates, or do not; another value than the run's changes the last bits."""
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
    json_lines: bool = False
    """Print JSON: an object for each iteration and message, and the result as the last one."""


CHANGEABLE = ResumeChanges.__optional_keys__


def main(flags: ResumeFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""

    def run() -> Outcome:
        return resume(
            flags.run,
            quiet=flags.quiet,
            json_lines=flags.json_lines,
            started=started,
            **flags.changes,
        )

    return exit_code_of(run)


def resume(
    run_dir: Path | str,
    *,
    make_env: MakeEnv | None = None,
    encoder: Importable | None = None,
    env_wrapper: Sequence[Importable] = (),
    watcher: Sequence[Importable] = (),
    watchers: Sequence[AnyWatcher] = (),
    quiet: bool = False,
    json_lines: bool = False,
    started: float | None = None,
    **changes: Unpack[ResumeChanges],
) -> Outcome:
    """Continue a run in its directory, with its TensorBoard curve, counters and optimizer.

    Args:
        run_dir: The run directory.
        make_env: Makes one environment, for a run that was trained with a callable.
        encoder: The object that this setting of the run was, if it cannot be imported.
        env_wrapper: All of this setting, in the same way.
        watcher: All of this setting, in the same way.
        watchers: As for `train`; those of the run's settings come before. One of the same name as
            before goes on from its state at the checkpoint.
        quiet: Print nothing.
        json_lines: Print JSON, as `--json-lines` does.
        started: Unix time from which the times in the result are counted; by default now.
        changes: Settings to change: `total_steps`, `stop_at_return`, `max_seconds`,
            `stop_at_eval_return`, `num_workers`, `address`, `min_workers`, `learner_label`,
            `worker_label`, `wait_for_resources`, `device`, `compile`, `on_anomaly` or
            `max_env_faults`.

    Returns:
        The run directory and the result.

    Raises:
        InputError: a setting is invalid or cannot change, there is no intact checkpoint, or the
            run is complete.
        RunError: the run could not continue; its checkpoints are kept.
        KeyboardInterrupt: Ctrl-C ended the run, which is saved; it is a `distpg.Interrupted`, whose
            `outcome` is what would have been returned.
    """
    for name in sorted(changes.keys() - CHANGEABLE):
        raise InputError(f"{name}: resume changes only {one_of(sorted(CHANGEABLE))}")
    run = RunDir.open(Path(run_dir))
    config = run.read_config(**changes)
    objects = {"encoder": encoder, "env_wrapper": env_wrapper, "watcher": watcher}
    given: dict[str, Any] = {name: value for name, value in objects.items() if value}
    check_same_names(vars(config), given)
    config = replace(config, **given)
    checkpoint, notes = load_newest(run, to_resume=True)
    if "labels" in checkpoint.learner.counters:
        raise InputError(
            f"{run.given} is an imitation run, which cannot be resumed (labels are not saved); "
            f"continue with train --config {run.given}/config.toml --init-from {run.given}"
        )
    if not checkpoint.slots and not config.episodes:
        checkpoint = with_fresh_envs(checkpoint)
        notes.append(
            f"inexact resume: {config.env_id} did not expose its state, so its envs restart from "
            "a reset"
        )
    progress = checkpoint.progress
    # one that was killed before its policy and result were written gets them
    has_ended = is_finished(run) and result_of(run).get("env_steps") == progress.env_steps
    if has_ended and progress.reached(config.stop_at_return):
        raise InputError(
            f"{run.given} has reached a mean return of {config.stop_at_return:g}; pass a higher "
            "--stop-at-return, or none, to continue"
        )
    if has_ended and progress.env_steps >= config.total_steps:
        raise InputError(
            f"{run.given} has done {progress.env_steps} of {config.total_steps} env steps; pass a "
            "higher --total-steps to continue"
        )
    plan = Plan(
        config,
        find_source(config, make_env),
        run,
        quiet=quiet,
        json_lines=json_lines,
        resume=checkpoint,
        watchers=watchers_of(config, watchers),
        attributes=EnvAttributes.from_json(checkpoint.attributes),
        notes=tuple(notes),
        started=started or time.time(),
    )
    return to_caller(execute(plan))


def with_fresh_envs(checkpoint: Checkpoint) -> Checkpoint:
    """Drop the running returns, because the envs of the resumed run restart from a reset."""
    learner = checkpoint.learner
    arrays = {name: x for name, x in learner.arrays.items() if name != "reward_scale/running"}
    return replace(checkpoint, learner=replace(learner, arrays=arrays))
