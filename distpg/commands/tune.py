"""`tune`: search settings with Optuna, by trials that are ordinary runs with several seeds."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import tyro

from distpg.config.settings import Count
from distpg.config.values import check_value
from distpg.errors import RunError, format_error
from distpg.many_runs.preflight import try_settings
from distpg.run.summary import command_line, program
from distpg.signals import handle_signals, interrupt
from distpg.tuning.folder import study_folder
from distpg.tuning.report import RECIPE, counts, trial_table
from distpg.tuning.search import Search
from distpg.tuning.space import Space, load_space
from distpg.tuning.study import Study, import_optuna


@dataclass(frozen=True, kw_only=True)
class TuneFlags:
    """Search settings with Optuna; a trial is several ordinary runs."""

    space: tyro.conf.Positional[Path] = tyro.MISSING
    """A TOML file with the settings, what is searched, trials, seeds and rungs (docs/tuning.md)."""
    parallel: int | None = None
    """Runs at a time. Default: 1."""
    folder: Path | None = None
    """Where the study and its runs are; the same command continues them. Default:
    runs/tune/SPACE."""


def main(flags: TuneFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    space = load_space(flags.space)
    check_value("parallel", flags.parallel, Count | None)
    folder = Path("runs") / "tune" / space.name if flags.folder is None else flags.folder
    import_optuna()
    try_settings(space.some_config())
    with study_folder(space, folder):
        study = Study(space, folder.absolute() / "study.db")
        search(space, study, folder, flags.parallel or 1, say)
    records = study.records()
    for line in trial_table(records):
        say(line)
    say(f"{counts(records)} of {space.trials} trials")
    if study.best() is None:
        return 1
    say(f"the best settings: {folder / RECIPE}")
    say(f"train them:        {command_line('train', '--config', str(folder / RECIPE))}")
    return 0


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, flush=True)


def search(
    space: Space, study: Study, folder: Path, parallel: int, say: Callable[[str], None]
) -> None:
    """Run the trials that are left.

    Raises:
        InputError: the folder of a trial has runs with other settings, or cannot be written.
        RunError: the study cannot be written.
        KeyboardInterrupt: Ctrl-C; the runs under way are saved.
    """
    seeds = f"{len(space.seeds)} {'seed' if len(space.seeds) == 1 else 'seeds'}"
    say(f"{space.trials} trials of {seeds}, {parallel} runs at a time, in {folder}")
    say(f"watch them: {program('tensorboard')} --logdir {folder}")
    config = space.some_config()
    with ExitStack() as stack:
        stack.enter_context(handle_signals(interrupt))
        if config.num_workers > 0:
            from distpg.actors.shared import shared_ray

            stack.enter_context(shared_ray(config, parallel, say))
        try:
            Search(space, study, folder, parallel, say).complete()
        except KeyboardInterrupt:
            say("the study is saved; the same command continues it")
            raise
        except BrokenPipeError:
            raise
        except (OSError, import_optuna().exceptions.StorageInternalError) as error:
            raise RunError(
                f"--folder: the study in {folder} stopped: {format_error(error)}; the same command "
                "continues it"
            ) from error
