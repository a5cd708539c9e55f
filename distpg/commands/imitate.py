"""`imitate`: learn from an expert, by cloning or by DAgger."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from distpg.config.config import Config
from distpg.config.flags import RunFlags
from distpg.config.settings import CountOrZero, RunSettings
from distpg.config.values import check_value
from distpg.envs.make import MakeEnv, find_source
from distpg.errors import InputError
from distpg.run.directory import RunDir
from distpg.run.execute import Outcome, execute
from distpg.run.loading import first_networks

CLONING_ROUNDS = 10
"""Rounds of the expert's where it alone acts, and acts anew in each."""


@dataclass(frozen=True, kw_only=True)
class ImitateRunSettings(RunSettings):
    """What to run.

    The run's config.toml keeps the settings of when to stop, and of the gradient estimator, for
    training that continues from it.
    """

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
    outcome = imitate(
        flags.checked(),
        flags.expert,
        dagger_rounds=flags.dagger_rounds,
        expert_rounds=flags.expert_rounds,
        run_dir=flags.run_dir,
        overwrite=flags.overwrite,
        quiet=flags.quiet,
        started=started,
    )
    return 128 + outcome.signal if outcome.signal else 0


def imitate(
    config: Config,
    expert: str | Path | Callable[[Any], Any],
    *,
    dagger_rounds: int = 0,
    expert_rounds: int | None = None,
    make_env: MakeEnv | None = None,
    run_dir: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    started: float | None = None,
) -> Outcome:
    """Learn from an expert what to do.

    Args:
        config: The settings, as for `train`; a round is a batch of them.
        expert: A run directory, module:function, a dataset of Minari's by id or folder, or a
            function from a batch of observations to a batch of actions, both as the env has them;
            where it has an action mask, that is in a dict beside what is observed.
        dagger_rounds: Rounds in which the student acts and the expert labels.
        expert_rounds: Rounds before, in which the expert acts; by default 10 without
            `dagger_rounds`, 1 with them or for a dataset.
        make_env: Makes one environment, instead of `env_id`; called with `env_kwargs`.
        run_dir: Where the run is kept; by default runs/ENV/imitate-sSEED-TIME.
        overwrite: Replace the run that `run_dir` holds.
        quiet: Print nothing.
        started: Unix time from which the result's seconds are counted; by default now.

    Returns:
        Where the run is and how it ended; `train` with `init_from` goes on from it.

    Raises:
        InputError: the settings or the expert cannot be; nothing was started.
        RunError: the run could not go on; its checkpoints are kept.
    """
    # torch, which the driver of no other command needs
    from distpg.imitation.expert import Oracle
    from distpg.imitation.run import Imitation
    from distpg.imitation.sources import find_expert

    check_value("dagger_rounds", dagger_rounds, CountOrZero)
    check_value("expert_rounds", expert_rounds, CountOrZero | None)
    source = find_source(config, make_env)
    config = dataclasses.replace(config, env_id=source.name)
    start_from, problems = first_networks(config)
    found = find_expert(expert, problems.append)
    can_be_asked = isinstance(found, Oracle)
    if dagger_rounds and not can_be_asked:
        raise InputError(
            f"--dagger-rounds: {dagger_rounds}, but the dataset {found.name} cannot say what to do "
            "where the student goes; take a run or a function as --expert, or leave it out"
        )
    if expert_rounds is None:
        expert_rounds = 1 if dagger_rounds or not can_be_asked else CLONING_ROUNDS
    if not expert_rounds + dagger_rounds:
        raise InputError("--expert-rounds: 0 without --dagger-rounds leaves nothing to learn from")
    run = RunDir.default(config, "imitate") if run_dir is None else RunDir(Path(run_dir))
    plan = Imitation(
        config,
        source,
        run,
        overwrite,
        quiet,
        start_from,
        notes=tuple(problems),
        expert=found,
        expert_rounds=expert_rounds,
        dagger_rounds=dagger_rounds,
    )
    if started is not None:
        plan = dataclasses.replace(plan, started=started)
    return execute(plan)
