"""`distpg train --seeds`: a folder of ordinary runs with the same settings, a seed each.

FOLDER/settings.toml   all settings of the runs, a file for `distpg train --config`
FOLDER/seed-N/         the run directory of a seed
"""

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distpg.config.config import Config
from distpg.config.names import OF_OBJECTS
from distpg.config.settings import Count, Seed
from distpg.config.values import check_value, flag
from distpg.errors import InputError
from distpg.many_runs.preflight import try_settings
from distpg.many_runs.run_files import is_finished, result_of, training_words, write_settings
from distpg.many_runs.side_by_side import SideBySide
from distpg.report.interval import mean_interval
from distpg.report.numbers import format_return, format_returns
from distpg.run.directory import RunDir
from distpg.run.summary import program
from distpg.signals import handle_signals, interrupt


@dataclass(frozen=True)
class SeedRun:
    """A run of several that differ by their seed."""

    directory: RunDir
    settings: Path
    seed: int
    quiet: bool

    def __str__(self) -> str:
        return f"seed {self.seed}"

    def next_words(self) -> list[str] | None:
        """Return the command that trains or resumes it, or None if it is finished."""
        if is_finished(self.directory):
            return None
        words = training_words(self.directory, self.settings, self.seed)
        return [*words, *["--quiet"] * self.quiet]

    def take(self, command: str, output: str) -> None:
        """Need nothing of what it printed."""

    def summary(self) -> str:
        """Describe what it reached, once it is finished."""
        result = self.result()
        mean = result["episode_return_mean"]
        outcome = "no episode finished" if mean is None else f"mean return {format_return(mean)}"
        return f"{result['stop_reason']}: {outcome} after {result['env_steps']:,} env steps"

    def result(self) -> dict[str, Any]:
        """Return the content of its `result.json`."""
        return result_of(self.directory)


def check_seeds(seeds: Sequence[int], parallel: int | None) -> None:
    """Check the seeds, and how many runs are to be trained at a time.

    Raises:
        InputError: there are none, one is there twice, or a number is out of range.
    """
    if not seeds:
        raise InputError("--seeds: the list is empty; pass at least one, such as --seeds 0 1 2")
    check_value("seeds", tuple(seeds), tuple[Seed, ...])
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds: {' '.join(map(str, seeds))} has one twice")
    check_value("parallel", parallel, Count | None)


def check_names_of_objects(config: Config) -> None:
    """Check that other processes can find what settings name.

    Raises:
        InputError: a setting is an object that only this program has.
    """
    for setting in OF_OBJECTS:
        value = getattr(config, setting)
        for name in value if isinstance(value, tuple) else (value,):
            if name is not None and name.startswith("<"):
                raise InputError(
                    f"{flag(setting)}: {name} cannot be imported by other processes, which "
                    "several seeds are trained in; define it in a module, or call train for each "
                    "seed"
                )


def default_folder(config: Config) -> Path:
    """Return the folder of runs that are given none: that of the same environment and algorithm."""
    return RunDir.default(config).given.parent / f"{config.algo}-seeds"


def finish_seeds(
    config: Config,
    seeds: Sequence[int],
    *,
    folder: Path | None = None,
    parallel: int | None = None,
    quiet: bool = False,
    say: Callable[[str], None],
    warn: Callable[[str], None] | None = None,
) -> tuple[list[SeedRun], dict[str, str]]:
    """Train a run with each seed, or continue those that are not finished.

    Args:
        config: The settings, whose seed does not count.
        seeds: The seeds.
        folder: Folder of the runs; by default runs/ENV/ALGO-seeds.
        parallel: Runs at a time; by default one, which prints what a run prints.
        quiet: Print nothing.
        say: Called with a line of progress.
        warn: Called with a line that is not to be missed; by default `say`.

    Returns:
        The runs, and why some failed, by their names.

    Raises:
        InputError: a setting or a seed is invalid, the runs in the folder have other settings, or
            the environment does not work; nothing was started.
        KeyboardInterrupt: Ctrl-C; the runs under way are saved.
    """
    check_seeds(seeds, parallel)
    check_names_of_objects(config)
    config = dataclasses.replace(config, seed=seeds[0])
    folder = default_folder(config) if folder is None else folder
    settings = folder / "settings.toml"
    at_a_time = min(parallel or 1, len(seeds))
    shown = at_a_time == 1 and not quiet
    runs = [
        SeedRun(RunDir(folder / f"seed-{seed}"), settings, seed, quiet=not shown) for seed in seeds
    ]
    try_settings(config)
    same = dataclasses.replace(config, seed=0)
    directories = [run.directory for run in runs]
    write_settings(same, settings, directories, ("--run-dir", folder), "the command")
    say(f"{len(runs)} seeds, {at_a_time} at a time, in {folder}")
    say(f"watch them: {program('tensorboard')} --logdir {folder}")
    with ExitStack() as stack:
        stack.enter_context(handle_signals(interrupt))
        if config.num_workers > 0 and at_a_time > 1:
            from distpg.actors.shared import shared_ray

            stack.enter_context(shared_ray(config, at_a_time, say))
        try:
            together = SideBySide(runs, at_a_time, say, shown=shown, warn=warn)
            return runs, together.complete()
        except KeyboardInterrupt:
            say("the runs are saved; the same command continues them")
            raise


def seed_table(runs: Sequence[SeedRun]) -> Iterator[str]:
    """Yield the lines of a table of the runs that are finished, with mean and interval."""
    results = {run.seed: run.result() for run in runs if is_finished(run.directory)}
    if not results:
        return
    evaluated = any(result["best_evaluation"] for result in results.values())
    best = f" {'best evaluation':>15}" * evaluated
    yield f"{'seed':>10} {'return':>10}{best} {'env steps':>12} {'training':>10}  end"
    for seed, result in results.items():
        found = result["best_evaluation"]
        best = f" {cell(found and found['return_mean']):>15}" * evaluated
        yield (
            f"{seed:>10} {cell(result['episode_return_mean']):>10}{best} "
            f"{result['env_steps']:>12,} {result['train_s']:>8.1f} s  {result['stop_reason']}"
        )
    returns = [result["episode_return_mean"] for result in results.values()]
    yield mean_line("mean return of the last 100 episodes", returns)
    if evaluated:
        found = [result["best_evaluation"] for result in results.values()]
        values = [x and x["return_mean"] for x in found]
        yield mean_line("mean return of the best evaluation", values)


def cell(value: float | None) -> str:
    """Format a return of the table."""
    return "-" if value is None else format_return(value)


def mean_line(name: str, values: Sequence[float | None]) -> str:
    """Return the mean over seeds, with its interval."""
    known = [value for value in values if value is not None]
    if not known:
        return f"{name}: no episode finished"
    mean, half = statistics.fmean(known), mean_interval(known)
    over = f"{len(known)} {'seed' if len(known) == 1 else 'seeds'}"
    if half is None:
        return f"{name}: {format_return(mean)}, {over}"
    text, low, high = format_returns(mean, mean - half, mean + half)
    return f"{name}: {text}, {over}, 95% interval of the mean {low} to {high}"
