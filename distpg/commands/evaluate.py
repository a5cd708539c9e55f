"""`evaluate`: run episodes with a trained policy."""

import json
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from distpg.config.names import Importable, check_same_names
from distpg.config.settings import BigCount, Count, Seed
from distpg.config.values import check_value
from distpg.envs.make import MakeEnv, find_source, make_vector_env
from distpg.envs.rendering import frame_rate, has_display, render_off_screen, rendering
from distpg.envs.vector_env import VectorEnv
from distpg.errors import InputError, prefix_errors
from distpg.iteration import Evaluation
from distpg.report.episodes import showing_episodes
from distpg.report.evaluation import describe, to_json
from distpg.report.numbers import format_return, format_returns
from distpg.report.outputs import apart_from_json
from distpg.run.checkpoint import load_checkpoint
from distpg.run.directory import RunDir
from distpg.run.loading import find_checkpoint, load_policy_file
from distpg.run.preflight import check_env
from distpg.seeding import RNG

if TYPE_CHECKING:
    from distpg.rollout.clip import Recorder
    from distpg.rollout.evaluation import Moment

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
    video: Path | None = None
    """Record the first episodes to this .mp4 (needs the extra "video") or .gif: whole ones of the
    first env, at least 500 frames if there are so many, and at most 1,500."""
    render: bool = False
    """Show the episodes in a window, one after the other."""
    json: bool = False
    """Print one JSON object."""


def main(flags: EvaluateFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    with showing_episodes(flags.episodes) as show, apart_from_json(flags.json):
        evaluation = evaluate(
            flags.run,
            episodes=flags.episodes,
            stochastic=flags.stochastic,
            seed=flags.seed,
            checkpoint=flags.checkpoint,
            eval_max_steps=flags.eval_max_steps,
            video=flags.video,
            render=flags.render,
            watch=show,
        )
    best = best_return(flags.run) if flags.checkpoint == "best" else None
    if flags.json:
        found = to_json(evaluation)
        # those of a run
        del found["iteration"], found["env_steps"]
        lists = {"returns": list(evaluation.returns), "lengths": list(evaluation.lengths)}
        print(json.dumps(found | lists))
    else:
        low, high = format_returns(min(evaluation.returns), max(evaluation.returns))
        if best is not None:
            print(
                f"the best policy, whose evaluation in the run had the return {format_return(best)}"
            )
        print(
            f"{len(evaluation.returns)} episodes: {describe(evaluation)}, min {low}, max {high}, "
            f"length {evaluation.mean_length:.1f}"
        )
    if warning := evaluation.warning():
        print(warning, file=sys.stderr)
    return 0


def best_return(run_dir: Path) -> float | None:
    """Return what the evaluation of a run's best policy had in the run."""
    run = RunDir.open(run_dir)
    return load_checkpoint(find_checkpoint(run, "best")).best_return


def evaluate(
    run_dir: Path | str,
    *,
    episodes: int = 100,
    stochastic: bool = False,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    eval_max_steps: int | None = None,
    make_env: MakeEnv | None = None,
    encoder: Importable | None = None,
    env_wrapper: Sequence[Importable] = (),
    video: Path | str | None = None,
    render: bool = False,
    watch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run whole episodes with a policy of a run; each env runs a fixed share of them.

    Args:
        run_dir: The run directory.
        episodes: Number of episodes, at least 1.
        stochastic: Sample actions instead of using the mode of the policy. With gSDE and a setting
            sde_sample_freq of 0 the episodes of an env have the same draw of the noise.
        seed: Random seed of the environments, and of sampled actions.
        checkpoint: "best", "latest", the env steps of a checkpoint, or the path of a policy file or
            of a checkpoint; by default the newest policy.
        eval_max_steps: Steps after which an episode is cut off, counted with its return so far; by
            default the setting of the run.
        make_env: Makes one environment, for a run that was trained with a callable.
        encoder: The object that this setting of the run was, if it cannot be imported.
        env_wrapper: All of this setting, in the same way.
        video: File, .mp4 or .gif, to record the first episodes to; it replaces an older one. They
            are those of the first env, whole, and at least 500 frames if there are so many; one
            that is longer than 1,500 frames is cut off there. What was recorded is told on standard
            error. Without a display, MUJOCO_GL (to egl) and SDL_VIDEODRIVER (to dummy) are set in
            `os.environ`, if they are not.
        render: Show the episodes in a window, one after the other, so in one env.
        watch: Called after each step with the number of episodes that are done.

    Returns:
        Undiscounted return and length of each episode, and which were cut off.

    Raises:
        InputError: the run has no policy, the environment has other spaces than the policy or
            cannot be rendered, or the video cannot be written.
    """
    video = None if video is None else Path(video)
    check_value("episodes", episodes, Count)
    check_value("seed", seed, Seed)
    check_value("eval_max_steps", eval_max_steps, BigCount | None)
    check_shown(video, render=render)
    run = RunDir.open(Path(run_dir))
    config = run.read_config()
    objects = {"encoder": encoder, "env_wrapper": env_wrapper}
    given: dict[str, Any] = {name: value for name, value in objects.items() if value}
    check_same_names(vars(config), given)
    config = replace(config, **given)
    with nullcontext() if checkpoint is None else prefix_errors("--checkpoint"):
        file, warnings = load_policy_file(run, None if checkpoint is None else str(checkpoint))
    for warning in warnings:
        print(warning, file=sys.stderr)
    source = find_source(config, make_env)
    first = config.first_other_copy
    source, *_ = check_env(source, config.phase_timeout, first)
    num_envs = 1 if render else min(episodes, MAX_ENVS)
    shown = prefix_errors("--render" if render else "--video") if render or video else nullcontext()
    from distpg.policy.acting import by_torch
    from distpg.policy.play import SavedPolicy
    from distpg.rollout.closing import closing
    from distpg.rollout.evaluation import play_episodes, run_episodes

    with ExitStack() as stack:
        with shown:
            if render or video:
                source = rendering(source, "human" if render else "rgb_array", first)
            envs = stack.enter_context(closing(make_vector_env(source, num_envs, first=first)))
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
        recorder = stack.enter_context(recording(video, envs)) if video else None

        def see(moment: "Moment") -> None:
            if recorder is not None:
                with prefix_errors("--video"):
                    recorder(moment)
            if watch is not None:
                watch(moment.done)

        return run_episodes(played, see)


def check_shown(video: Path | None, *, render: bool) -> None:
    """Check that episodes can be shown, before anything is imported that renders them.

    Raises:
        InputError: both are asked for, the file cannot be written, or there is no display.
    """
    if video is not None and render:
        raise InputError("--video and --render exclude each other; omit one of them")
    if video is not None:
        with prefix_errors("--video"):
            # needs Pillow, which the other commands do not
            from distpg.report.video import check_video

            check_video(video)
        render_off_screen()
    if render and not has_display():
        raise InputError("--render: there is no display (DISPLAY is not set); use --video")


@contextmanager
def recording(video: Path, envs: VectorEnv) -> Generator["Recorder"]:
    """Context manager: what records to a file; afterwards it is told what was recorded."""
    from distpg.report.video import writing_video
    from distpg.rollout.clip import Recorder

    fps = frame_rate(envs)
    recorder = None
    try:
        with writing_video(video, fps) as write:
            recorder = Recorder(envs, write)
            yield recorder
    finally:
        if recorder is not None and recorder.frames:
            print(f"video: {video}: {recorder}; {fps:g} frames per second", file=sys.stderr)
