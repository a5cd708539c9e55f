"""`python -m distpg.commands.advance SETTINGS SEED RUN ENV_STEPS`: bring a run as far as a rung.

`tune` starts it. The run is an ordinary one, which stops after the iteration that reaches so many
env steps; its schedules lead to `total_steps`.
"""

import sys
from pathlib import Path

from distpg.commands.resume import resume
from distpg.commands.train import train
from distpg.config.files import load_config
from distpg.errors import InputError, RunError
from distpg.many_runs.run_files import clean_start, why_lost
from distpg.run.checkpoint import list_checkpoints
from distpg.run.directory import RunDir
from distpg.run.execute import Outcome, exit_code_of
from distpg.tuning.rungs import StopAtRung


def main(settings: str, seed: str, run: str, env_steps: str) -> int:
    """Train or resume a run; return the exit code."""
    # --env-id and --encoder can name modules in the current directory
    sys.path.insert(0, str(Path.cwd()))
    try:
        return exit_code_of(lambda: advance(settings, int(seed), RunDir(Path(run)), int(env_steps)))
    except InputError as error:
        print(f"distpg: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"distpg: {error}", file=sys.stderr)
        return 1


def advance(settings: str, seed: int, run: RunDir, env_steps: int) -> Outcome:
    """Resume a run, or train it if it has no checkpoint, or lost them.

    Raises:
        InputError: it cannot be resumed or trained.
        RunError: it could not continue.
        KeyboardInterrupt: a signal ended it.
    """
    watchers = [StopAtRung(env_steps)]
    if list_checkpoints(run) and not why_lost(run):
        return resume(run.path, watchers=watchers, quiet=True)
    clean_start(run)
    config = load_config(settings, seed=seed)
    return train(config, watchers=watchers, run_dir=run.path, overwrite=True, quiet=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
