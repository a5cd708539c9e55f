"""`evaluate`: run episodes with a trained policy."""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from distpg.config.settings import BigCount, Count, Seed
from distpg.config.values import check_value
from distpg.envs.make import MakeEnv, find_source, make_vector_env
from distpg.errors import InputError, prefix_errors
from distpg.iteration import Evaluation
from distpg.report.episodes import showing_episodes
from distpg.report.numbers import format_returns
from distpg.run.directory import RunDir
from distpg.run.loading import load_policy_file
from distpg.run.preflight import check_env
from distpg.seeding import RNG

MAX_ENVS = 8
"""Maximum number of envs that run the episodes."""


@dataclass(frozen=True, kw_only=True)
class EvaluateFlags:
    """Run episodes with a trained policy."""

    run: tyro.conf.Positional[Path] = tyro.MISSING
    """The run directory."""
    episodes: int = 100
    """Number of episodes."""
    stochastic: bool = False
    """Sample actions instead of using the mode."""
    seed: int = 0
    """Random seed of the environments, and of sampled actions."""
    checkpoint: str | None = None
    """Policy to run: best, latest, the env steps of a checkpoint, or the path of a policy file or a
    checkpoint. Default: the newest."""
    eval_max_steps: int | None = None
    """Steps after which an episode is cut off. Default: the run's --eval-max-steps."""
    json: bool = False
    """Print one JSON object."""


def main(flags: EvaluateFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    with showing_episodes(flags.episodes) as show:
        evaluation = evaluate(
            flags.run,
            episodes=flags.episodes,
            stochastic=flags.stochastic,
            seed=flags.seed,
            checkpoint=flags.checkpoint,
            eval_max_steps=flags.eval_max_steps,
            watch=show,
        )
    returns, lengths = np.array(evaluation.returns), np.array(evaluation.lengths)
    if flags.json:
        summary = {
            "episodes": len(returns),
            "return_mean": returns.mean(),
            "return_std": returns.std(),
            "return_min": returns.min(),
            "return_max": returns.max(),
            "length_mean": lengths.mean(),
            "cut_off": len(evaluation.cut_off),
            "returns": list(evaluation.returns),
            "lengths": list(evaluation.lengths),
        }
        print(json.dumps(summary))
    else:
        mean, std, low, high = format_returns(
            returns.mean(), returns.std(), returns.min(), returns.max()
        )
        print(
            f"{len(returns)} episodes: return {mean} +- {std} (min {low}, max {high}), "
            f"length {lengths.mean():.1f}"
        )
    if warning := evaluation.warning():
        print(warning, file=sys.stderr)
    return 0


def evaluate(
    run_dir: Path | str,
    *,
    episodes: int = 100,
    stochastic: bool = False,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    eval_max_steps: int | None = None,
    make_env: MakeEnv | None = None,
    watch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run whole episodes with a policy of a run; each env runs a fixed share of them.

    Args:
        run_dir: The run directory.
        episodes: Number of episodes, at least 1.
        stochastic: Sample actions instead of using the mode of the policy.
        seed: Random seed of the environments, and of sampled actions.
        checkpoint: "best", "latest", the env steps of a checkpoint, or the path of a policy file or
            of a checkpoint; by default the newest policy.
        eval_max_steps: Steps after which an episode is cut off, counted with its return so far; by
            default the setting of the run.
        make_env: Makes one environment, for a run that was trained with a callable.
        watch: Called after each step with the number of episodes that are done.

    Returns:
        Undiscounted return and length of each episode, and which were cut off.

    Raises:
        InputError: the run has no policy, or the environment has other spaces than the policy.
    """
    check_value("episodes", episodes, Count)
    check_value("seed", seed, Seed)
    check_value("eval_max_steps", eval_max_steps, BigCount | None)
    run = RunDir.open(Path(run_dir))
    config = run.read_config()
    with nullcontext() if checkpoint is None else prefix_errors("--checkpoint"):
        file, warnings = load_policy_file(run, None if checkpoint is None else str(checkpoint))
    for warning in warnings:
        print(warning, file=sys.stderr)
    source = find_source(config, make_env)
    first = config.first_other_copy
    source, *_ = check_env(source, config.phase_timeout, first)
    from distpg.policy.acting import by_torch
    from distpg.policy.play import SavedPolicy
    from distpg.rollout.closing import closing
    from distpg.rollout.evaluation import play_episodes, run_episodes

    with closing(make_vector_env(source, min(episodes, MAX_ENVS), first=first)) as envs:
        if (envs.obs_spec.arrays, envs.action_spec) != (file.obs_spec.arrays, file.action_spec):
            raise InputError(
                f"the policy of {run_dir} was trained on spaces that differ from those of "
                f"{source.name}"
            )
        policy = SavedPolicy(file, encoder=config.encoder).policy
        played = play_episodes(
            by_torch(policy),
            policy.units,
            envs,
            episodes,
            seed=seed,
            stochastic=stochastic,
            rng=RNG.PLAY,
            max_steps=eval_max_steps or config.eval_max_steps,
        )
        return run_episodes(played, watch)
