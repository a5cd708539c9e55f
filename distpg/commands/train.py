"""`train`: from flags, or from Python, to a trained policy."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from distpg.config.config import Config
from distpg.config.flags import RunFlags
from distpg.envs.make import MakeEnv, find_source
from distpg.run.directory import RunDir
from distpg.run.execute import Outcome, Plan, execute
from distpg.run.loading import first_networks


@dataclass(frozen=True, kw_only=True)
class TrainFlags(RunFlags):
    """Train a policy; defaults < preset of --algo < --config < flags."""


def main(flags: TrainFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    outcome = train(
        flags.checked(),
        run_dir=flags.run_dir,
        overwrite=flags.overwrite,
        quiet=flags.quiet,
        started=started,
    )
    return 128 + outcome.signal if outcome.signal else 0


def train(
    config: Config,
    *,
    make_env: MakeEnv | None = None,
    run_dir: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    started: float | None = None,
) -> Outcome:
    """Train a policy.

    Args:
        config: The settings; `Config(algo=..., env_id=..., ...)`.
        make_env: Makes one environment, in whichever process needs it; instead of `env_id`. It is
            called with `env_kwargs`.
        run_dir: Where the run is kept; by default runs/ENV/ALGO-sSEED-TIME.
        overwrite: Replace the run that `run_dir` holds.
        quiet: Print nothing.
        started: Unix time from which the result's seconds are counted; by default now.

    Returns:
        Where the run is and how it ended.

    Raises:
        InputError: the settings cannot be; nothing was started.
        RunError: the run could not go on; its checkpoints are kept.
    """
    source = find_source(config, make_env)
    config = dataclasses.replace(config, env_id=source.name)
    start_from, problems = first_networks(config)
    run = RunDir.default(config) if run_dir is None else RunDir(Path(run_dir))
    plan = Plan(config, source, run, overwrite, quiet, start_from, notes=tuple(problems))
    if started is not None:
        plan = dataclasses.replace(plan, started=started)
    return execute(plan)
