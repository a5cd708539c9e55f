"""`imitate`: learn from an expert, by behavioural cloning or DAgger."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from distpg.config.config import Config
from distpg.config.flags import RunFlags
from distpg.config.settings import BigCount, CountOrZero, Finite, RunSettings
from distpg.config.values import check_value
from distpg.envs.make import MakeEnv, find_source
from distpg.errors import InputError
from distpg.run.directory import RunDir
from distpg.run.execute import Outcome, execute, exit_code_of, to_caller
from distpg.run.given_watchers import AnyWatcher, watchers_of
from distpg.run.loading import load_init_from

CLONING_ROUNDS = 10
"""Default number of expert rounds without DAgger rounds."""


@dataclass(frozen=True, kw_only=True)
class ImitateRunSettings(RunSettings):
    """What to run.

    The run's config.toml keeps the settings of when to stop, and of the gradient estimator, for
    training that continues from it.
    """

    total_steps: BigCount = 1_000_000
    """Of a training that continues from the student; an imitation ends with its rounds."""
    stop_at_return: Finite | None = None
    """Of a training that continues from the student."""
    eval_every: CountOrZero = 1
    """Rounds between evaluations of the student; 0 disables evaluation."""


@dataclass(frozen=True, kw_only=True)
class ImitateFlags(RunFlags):
    """Imitate an expert, by behavioural cloning or DAgger."""

    expert: str = tyro.MISSING
    """The expert: a run directory, module:function (batch of observations, with action_mask if any,
    -> batch of actions), or a Minari dataset id or folder."""
    dagger_rounds: int = 0
    """DAgger rounds: the student acts and the expert labels its states. A round is a batch of
    --num-slots x --num-envs x --num-steps labels, or of whole episodes, after which the student
    learns from all labels so far, in --num-epochs."""
    expert_rounds: int | None = None
    """Initial rounds in which the expert acts; a dataset is split evenly over them. Default: 10
    without --dagger-rounds, 1 with them or for a dataset."""
    run: RunSettings = field(default_factory=ImitateRunSettings)


def main(flags: ImitateFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    return exit_code_of(
        lambda: imitate(
            flags.checked(),
            flags.expert,
            dagger_rounds=flags.dagger_rounds,
            expert_rounds=flags.expert_rounds,
            run_dir=flags.run_dir,
            overwrite=flags.overwrite,
            quiet=flags.quiet,
            json_lines=flags.json_lines,
            started=started,
        )
    )


def imitate(
    config: Config,
    expert: str | Path | Callable[[Any], Any],
    *,
    dagger_rounds: int = 0,
    expert_rounds: int | None = None,
    make_env: MakeEnv | None = None,
    watchers: Sequence[AnyWatcher] = (),
    run_dir: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    json_lines: bool = False,
    started: float | None = None,
) -> Outcome:
    """Learn from an expert, by behavioural cloning or DAgger.

    Args:
        config: The settings, as for `train`; a round collects one batch.
        expert: A run directory, module:function, the id or folder of a Minari dataset, or a
            function from a batch of observations to a batch of actions, both as in the env's
            spaces; with an action mask, observations are dicts that contain `action_mask`.
        dagger_rounds: Rounds in which the student acts and the expert labels its states.
        expert_rounds: Initial rounds in which the expert acts; by default 10 without
            `dagger_rounds`, 1 with them or for a dataset.
        make_env: Makes one environment, instead of `env_id`; called with `env_kwargs`.
        watchers: As for `train`; each sees every round.
        run_dir: Run directory to create; by default runs/ENV/imitate-sSEED-TIME.
        overwrite: Replace the run in `run_dir`.
        quiet: Print nothing.
        json_lines: Print JSON, as `--json-lines` does.
        started: Unix time from which the times in the result are counted; by default now.

    Returns:
        The run directory and the result; `train` with `init_from` continues from it.

    Raises:
        InputError: the settings or the expert are invalid; nothing was created.
        RunError: the run could not continue; its checkpoints are kept.
        KeyboardInterrupt: Ctrl-C ended the run, which is saved; it is a `distpg.Interrupted`, whose
            `outcome` is what would have been returned.
    """
    # imports torch, which the driver of other commands does not need
    from distpg.imitation.expert import Oracle
    from distpg.imitation.run import Imitation
    from distpg.imitation.sources import find_expert

    check_value("dagger_rounds", dagger_rounds, CountOrZero)
    check_value("expert_rounds", expert_rounds, CountOrZero | None)
    source = find_source(config, make_env)
    config = dataclasses.replace(config, env_id=source.name)
    start_from, warnings = load_init_from(config)
    found = find_expert(expert, warnings.append)
    can_query = isinstance(found, Oracle)
    if dagger_rounds and not can_query:
        raise InputError(
            f"--dagger-rounds: {dagger_rounds}, but the dataset {found.name} cannot be queried at "
            "the student's states; use a run or a function as --expert, or omit --dagger-rounds"
        )
    if expert_rounds is None:
        expert_rounds = 1 if dagger_rounds or not can_query else CLONING_ROUNDS
    if not expert_rounds + dagger_rounds:
        raise InputError(
            "--expert-rounds: 0 without --dagger-rounds leaves nothing to learn from; use at least "
            "1 of either"
        )
    plan = Imitation(
        config,
        source,
        RunDir.default(config, "imitate") if run_dir is None else RunDir(Path(run_dir)),
        overwrite,
        quiet,
        json_lines,
        start_from,
        watchers=watchers_of(config, watchers),
        notes=tuple(warnings),
        started=started or time.time(),
        expert=found,
        expert_rounds=expert_rounds,
        dagger_rounds=dagger_rounds,
    )
    return to_caller(execute(plan))
