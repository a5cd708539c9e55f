"""`train`: train a policy by reinforcement learning."""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from distpg.config.config import Config
from distpg.config.flags import RunFlags
from distpg.envs.make import MakeEnv, find_source
from distpg.errors import InputError, RunError
from distpg.many_runs.seeds import finish_seeds, seed_table
from distpg.run.directory import RunDir
from distpg.run.execute import Outcome, execute, exit_code_of, to_caller
from distpg.run.given_watchers import AnyWatcher, watchers_of
from distpg.run.loading import load_init_from
from distpg.run.plan import Plan


@dataclass(frozen=True, kw_only=True)
class TrainFlags(RunFlags):
    """Train a policy; defaults < preset of --algo < --config < flags."""

    seeds: tuple[int, ...] | None = None
    """Train a run with each of these seeds, in --run-dir/seed-N. The same command continues what
    is not finished. Default: one run, with --seed."""
    parallel: int | None = None
    """Runs of --seeds at a time. Default: 1."""

    def base(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Return the settings that the other flags override.

        Raises:
            InputError: a file is invalid, or flags exclude each other.
        """
        words = [word.partition("=")[0].replace("_", "-") for word in arguments]
        if "--seeds" in words and "--seed" in words:
            raise InputError("--seed: --seeds is given, too; omit one of them")
        return super().base(arguments)


def main(flags: TrainFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    if flags.seeds is not None:
        return train_each_seed(flags, flags.seeds)
    if flags.parallel is not None:
        raise InputError(f"--parallel: {flags.parallel} is the number of runs of --seeds; add it")
    return exit_code_of(
        lambda: train(
            flags.checked(),
            run_dir=flags.run_dir,
            overwrite=flags.overwrite,
            quiet=flags.quiet,
            json_lines=flags.json_lines,
            started=started,
        )
    )


def train_each_seed(flags: TrainFlags, seeds: Sequence[int]) -> int:
    """Train a run with each seed, and print their table; return the exit code."""
    if flags.overwrite:
        raise InputError(
            "--overwrite: with --seeds the same command continues its runs; omit it, or choose "
            "another --run-dir"
        )
    if flags.json_lines:
        raise InputError("--json-lines: not with --seeds; read the result.json of each run")
    say = say_unless(flags.quiet)
    runs, failures = finish_seeds(
        flags.checked(),
        seeds,
        folder=flags.run_dir,
        parallel=flags.parallel,
        quiet=flags.quiet,
        say=say,
        warn=say_error,
    )
    for line in seed_table(runs):
        say(line)
    for name, why in failures.items():
        say_error(f"{name} failed: {why}")
    return 1 if failures else 0


def say_unless(quiet: bool) -> Callable[[str], None]:
    """Return what prints a line, or nothing with `quiet`."""
    return (lambda line: None) if quiet else partial(print, flush=True)


def say_error(line: str) -> None:
    """Print a line that --quiet does not hide."""
    print(line, file=sys.stderr, flush=True)


def train(
    config: Config,
    *,
    make_env: MakeEnv | None = None,
    watchers: Sequence[AnyWatcher] = (),
    run_dir: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    json_lines: bool = False,
    started: float | None = None,
) -> Outcome:
    """Train a policy.

    Args:
        config: The settings, e.g. `Config(algo="ppo", env_id="CartPole-v1")`.
        make_env: The same as the setting `env_id` if that is a callable, which it replaces.
        watchers: Each sees every iteration and may answer (`distpg.Watcher`, `distpg.Response`): a
            watcher, its class, or a function of the iteration. Those of `config.watcher` come
            before.
        run_dir: Run directory to create; by default runs/ENV/ALGO-sSEED-TIME.
        overwrite: Replace the run in `run_dir`.
        quiet: Print nothing.
        json_lines: Print JSON, as `--json-lines` does.
        started: Unix time from which the times in the result are counted; by default now.

    Returns:
        The run directory and the result.

    Raises:
        InputError: the settings or the environment are invalid; nothing was created.
        RunError: the run could not continue; its checkpoints are kept.
        KeyboardInterrupt: Ctrl-C ended the run, which is saved; it is a `distpg.Interrupted`, whose
            `outcome` is what would have been returned.
    """
    source = find_source(config, make_env)
    config = dataclasses.replace(config, env_id=source.name)
    start_from, warnings = load_init_from(config)
    plan = Plan(
        config,
        source,
        RunDir.default(config) if run_dir is None else RunDir(Path(run_dir)),
        overwrite,
        quiet,
        json_lines,
        start_from,
        watchers=watchers_of(config, watchers),
        notes=tuple(warnings),
        started=started or time.time(),
    )
    return to_caller(execute(plan))


def train_seeds(
    config: Config,
    seeds: Sequence[int],
    *,
    run_dir: Path | str | None = None,
    parallel: int | None = None,
    quiet: bool = False,
) -> list[Outcome]:
    """Train a run with each seed, in processes of their own; called again, continue the others.

    Args:
        config: The settings, whose seed does not count. Objects among them must be importable.
        seeds: The seeds.
        run_dir: Folder of the runs, seed-N; by default runs/ENV/ALGO-seeds.
        parallel: Runs at a time; by default one.
        quiet: Print nothing.

    Returns:
        Run directory and result of each seed.

    Raises:
        InputError: a setting or a seed is invalid, the runs in the folder have other settings, or
            the environment does not work; nothing was started.
        RunError: a run failed; the others are finished.
        KeyboardInterrupt: Ctrl-C; the runs under way are saved.
    """
    runs, failures = finish_seeds(
        config,
        seeds,
        folder=None if run_dir is None else Path(run_dir),
        parallel=parallel,
        quiet=quiet,
        say=say_unless(quiet),
        warn=say_error,
    )
    if failures:
        raise RunError("; ".join(f"{name} failed: {why}" for name, why in failures.items()))
    return [Outcome(run.directory.path, run.result(), None) for run in runs]
