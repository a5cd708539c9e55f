"""`train`: train a policy by reinforcement learning."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

from distpg.config.config import Config
from distpg.config.flags import RunFlags
from distpg.envs.make import MakeEnv, find_source
from distpg.run.directory import RunDir
from distpg.run.execute import Outcome, Plan, execute
from distpg.run.loading import load_init_from


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
    return outcome.exit_code


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
        config: The settings, e.g. `Config(algo="ppo", env_id="CartPole-v1")`.
        make_env: Makes one environment, instead of `env_id`; called with `env_kwargs`, in every
            process that needs an environment.
        run_dir: Run directory to create; by default runs/ENV/ALGO-sSEED-TIME.
        overwrite: Replace the run in `run_dir`.
        quiet: Print nothing.
        started: Unix time from which the times in the result are counted; by default now.

    Returns:
        The run directory and the result.

    Raises:
        InputError: the settings or the environment are invalid; nothing was created.
        RunError: the run could not continue; its checkpoints are kept.
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
        start_from,
        notes=tuple(warnings),
        started=started or time.time(),
    )
    return execute(plan)
