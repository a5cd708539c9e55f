"""Videos of an evaluation: they show its episodes, change none, and are complete or absent."""

import ctypes.util
import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import distpg
from distpg import Config, InputError, RunError
from distpg.envs.make import find_env, make_vector_env
from distpg.envs.rendering import OFF_SCREEN, render_off_screen, rendering
from distpg.policy.acting import by_torch
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.report.video import check_video, gif_bytes, writing_video
from distpg.rollout import clip
from distpg.rollout.clip import Clip, play_clip
from distpg.rollout.closing import closing
from distpg.seeding import RNG, rng_seeds
from tests.environments import Counting, Stepped
from tests.settings import config_of
from tests.test_closing import SMALL

GREY = 30
"""Brightness that a step adds to a picture."""


class Painted(Counting):
    """Each picture is as bright as steps were done in the episode."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.render_mode = render_mode

    def render(self) -> Any:
        assert self.render_mode == "rgb_array"
        # odd sides
        return np.full((31, 47, 3), GREY * self.count, np.uint8)


class Stopped(Painted):
    """A user presses Ctrl-C in the fifth step of the first env of an evaluation."""

    steps = 0

    def step(self, action: Any) -> Stepped:
        if self.render_mode is not None:
            Stopped.steps += 1
            if Stopped.steps == 5:
                signal.raise_signal(signal.SIGINT)
        return super().step(action)


class Flat(Painted):
    """Its pictures have no colours."""

    def render(self) -> Any:
        return super().render()[..., 0]


def trained(folder: Path, **settings: Any) -> Path:
    config = config_of({**SMALL, "num_workers": 0, "learner_threads": 1, **settings})
    return distpg.train(config, run_dir=folder / "run", quiet=True).run_dir


def painted(folder: Path, *lengths: int, kind: str = "Painted") -> Path:
    return trained(folder, env_id=f"{__name__}:{kind}", env_kwargs={"lengths": [*lengths]})


def steps_shown(path: Path) -> list[int]:
    """Return the steps that the pictures of a video stand for."""
    if path.suffix == ".gif":
        with Image.open(path) as gif:
            frames = []
            for number in range(gif.n_frames):  # pyright: ignore[reportAttributeAccessIssue]
                gif.seek(number)
                frames.append(np.asarray(gif.convert("RGB")))
        assert frames[0].shape == (31, 47, 3)
    else:
        ffmpeg = pytest.importorskip("imageio_ffmpeg")
        reader = ffmpeg.read_frames(str(path))
        described = next(reader)
        assert described["fps"] == 20
        width, height = described["size"]
        frames = [np.frombuffer(x, np.uint8).reshape(height, width, 3) for x in reader]
        assert (height, width) == (32, 48)
    # inside, where no frame is filled up to an even size
    return [round(float(frame[:28, :44].mean()) / GREY) for frame in frames]


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_shows_the_episodes_of_the_first_env_and_leaves_the_returns(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, path = painted(tmp_path, 3, 5), tmp_path / f"video{suffix}"
    path.write_text("an older one")
    for stochastic in (False, True):
        without = distpg.evaluate(run, episodes=20, seed=3, stochastic=stochastic)
        shown = distpg.evaluate(run, episodes=20, seed=3, stochastic=stochastic, video=path)
        assert shown == without
        # 20 episodes in 8 envs: three in the first four
        lengths = shown.lengths[:3]
        assert {*lengths} == {3, 5}
        assert steps_shown(path) == [step for length in lengths for step in range(length + 1)]
    said = capsys.readouterr().err
    assert f"video: {path}: {sum(lengths) + 3} frames, 3 whole episodes; 20 frames per" in said
    assert [file.name for file in tmp_path.iterdir() if file.name != "run"] == [path.name]


@pytest.mark.parametrize(
    ("length", "enough", "most", "max_steps", "expected"),
    [
        # the second ends with the eighth frame
        (3, 5, 100, None, [0, 1, 2, 3] * 2),
        (9, 5, 6, None, [0, 1, 2, 3, 4, 5]),
        # cut off
        (9, 5, 100, 2, [0, 1, 2] * 2),
        (1, 100, 100, None, [0, 1] * 3),
    ],
)
def test_a_video_ends_with_an_episode_unless_that_is_long(
    length: int,
    enough: int,
    most: int,
    max_steps: int | None,
    expected: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clip, "ENOUGH", enough)
    monkeypatch.setattr(clip, "MAX_FRAMES", most)
    run, path = painted(tmp_path, length), tmp_path / "video.gif"
    distpg.evaluate(run, episodes=24, eval_max_steps=max_steps, video=path)
    assert steps_shown(path) == expected


def test_what_the_first_env_does_while_the_others_go_on_is_not_shown(tmp_path: Path) -> None:
    run, path = painted(tmp_path, 1, 9), tmp_path / "video.gif"
    shorter = 0
    for seed in range(4):
        evaluation = distpg.evaluate(run, episodes=24, seed=seed, eval_max_steps=2, video=path)
        lengths = evaluation.lengths[:3]
        assert steps_shown(path) == [step for length in lengths for step in range(length + 1)]
        shorter += sum(lengths) < max(
            sum(evaluation.lengths[at : at + 3]) for at in range(3, 24, 3)
        )
    assert shorter


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_ctrl_c_leaves_a_video_up_to_there(suffix: str, tmp_path: Path) -> None:
    run, path = painted(tmp_path, 9, kind="Stopped"), tmp_path / f"video{suffix}"
    Stopped.steps = 0
    # a shell has its background jobs ignore the signal
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            distpg.evaluate(run, episodes=1, video=path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert steps_shown(path) == [0, 1, 2, 3, 4]
    assert {file.name for file in tmp_path.iterdir()} == {"run", path.name}


def test_a_video_that_cannot_be_written_leaves_the_older_one(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "video.mp4"
    path.write_text("an older one")
    frame = np.zeros((16, 16, 3), np.uint8)

    def write(count: int, *, kill: bool) -> None:
        with writing_video(path, 30) as add:
            for _ in range(count):
                add(frame)
            for child in psutil.Process().children() if kill else ():
                if "ffmpeg" in child.name():
                    child.kill()

    write(0, kill=False)
    with pytest.raises(RunError, match=r"video.mp4 cannot be written: ffmpeg wrote 0 of 2 frames"):
        write(2, kill=True)
    assert path.read_text() == "an older one"
    assert [file.name for file in tmp_path.iterdir()] == ["video.mp4"]
    write(2, kill=False)
    assert path.read_bytes()[4:8] == b"ftyp"


def test_frames_of_one_video_have_one_size(tmp_path: Path) -> None:
    def write(*sizes: int) -> None:
        with writing_video(tmp_path / "x.gif", 30) as add:
            for size in sizes:
                add(np.zeros((size, 8, 3), np.uint8))

    with pytest.raises(RunError, match="differ in size"):
        write(16, 8)


def test_a_gif_keeps_the_pace_of_an_environment_that_is_fast(tmp_path: Path) -> None:
    frames = [np.full((8, 8, 3), 2 * number, np.uint8) for number in range(100)]
    (tmp_path / "x.gif").write_bytes(gif_bytes(frames, 100))
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 50  # pyright: ignore[reportAttributeAccessIssue]
        assert gif.info["duration"] == 20
        gif.seek(49)
        assert np.asarray(gif.convert("RGB")).max() == 2 * 98


def test_a_missing_package_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match=r"pip install 'distpg\[video\]', or name a \.gif"):
        check_video(tmp_path / "x.mp4")
    check_video(tmp_path / "x.gif")


def clip_of(env_id: str, max_frames: int, **kwargs: Any) -> Clip:
    source = rendering(find_env(env_id, kwargs), "rgb_array")
    with closing(make_vector_env(source, 1)) as envs, torch.random.fork_rng():
        torch.manual_seed(0)
        policy = Policy(envs.obs_spec, envs.action_spec, Architecture.of(Config(hidden_sizes=(4,))))
        return play_clip(by_torch(policy.for_acting()), policy.units, envs, max_frames, seed=7)


def first_frame(env_id: str) -> np.ndarray:
    (seed,) = rng_seeds(RNG.EVALUATE, 7)
    env = gym.make(env_id, render_mode="rgb_array")
    env.reset(seed=seed)
    frame: Any = env.render()
    env.close()
    return frame


@pytest.mark.parametrize(
    ("env_id", "most", "count", "fps"),
    # a whole episode, and the beginning of one
    [("Pendulum-v1", 1000, 201, 30), ("LunarLander-v3", 20, 20, 50)],
)
def test_a_clip_begins_with_the_reset_as_the_environment_renders_it(
    env_id: str, most: int, count: int, fps: float
) -> None:
    shown = clip_of(env_id, most)
    assert shown.frames.dtype == np.uint8
    assert (len(shown.frames), shown.fps) == (count, fps)
    np.testing.assert_array_equal(shown.frames[0], first_frame(env_id))
    assert (shown.frames[0] != shown.frames[19]).any()


def test_vector_implementations_render_too(tmp_path: Path) -> None:
    shown = clip_of("CartPole-v1", 5)
    assert shown.frames.shape == (5, 400, 600, 3)
    assert shown.fps == 50
    run, path = trained(tmp_path), tmp_path / "video.gif"
    assert distpg.evaluate(run, episodes=9, video=path) == distpg.evaluate(run, episodes=9)


def test_an_atari_game_is_shown_as_the_policy_sees_it() -> None:
    pytest.importorskip("ale_py")
    frames = clip_of("ALE/Pong-v5", 8).frames
    assert frames.shape == (8, 336, 336, 3)
    small = frames[:, ::4, ::4]
    np.testing.assert_array_equal(small.repeat(4, 1).repeat(4, 2), frames)
    assert len(np.unique(small[-1])) > 2
    assert (frames[0] != frames[-1]).any()


def without_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", *OFF_SCREEN):
        # so that it is as before after the test
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_mujoco_renders_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux" or ctypes.util.find_library("EGL") is None:
        pytest.skip("needs libEGL")
    without_display(monkeypatch)
    render_off_screen()
    assert {name: os.environ[name] for name in OFF_SCREEN} == OFF_SCREEN
    shown = clip_of("Hopper-v5", 3)
    assert shown.frames.shape == (3, 480, 480, 3)
    assert shown.fps == 125
    np.testing.assert_array_equal(shown.frames[0], first_frame("Hopper-v5"))


def bare(render_mode: str | None = None) -> gym.Env[Any, Any]:
    """Make an environment that ignores the mode."""
    return Painted()


BAD: list[tuple[Callable[..., Any], str]] = [
    (Counting, "Counting does not have the render mode rgb_array; it has none"),
    (lambda: Painted(lengths=[2]), "cannot be made: .*render_mode"),
    (bare, r"render\(\) raised AssertionError"),
    (Flat, r"render\(\) returned uint8 \[31, 47\]; a frame is uint8 \[height, width, 3\]"),
]


@pytest.mark.parametrize(("make_env", "said"), BAD)
def test_an_environment_that_cannot_be_recorded_is_refused_before_an_episode(
    make_env: Any, said: str, tmp_path: Path
) -> None:
    run = trained(tmp_path, env_id=make_env)
    with pytest.raises(InputError, match=f"--video: .*{said}"):
        distpg.evaluate(run, make_env=make_env, video=tmp_path / "x.gif", watch=fail)
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def fail(done: int) -> None:
    pytest.fail("an episode began")


def test_a_window_shows_all_episodes_of_one_env(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("DISPLAY", "none, but it is asked for")
    sizes: set[Any] = set()

    def look(done: int) -> None:
        sizes.add(pygame.display.get_surface().get_size())

    # vectorized, and stepped one by one for a window
    run = trained(tmp_path)
    evaluation = distpg.evaluate(run, episodes=2, eval_max_steps=5, render=True, watch=look)
    assert evaluation.cut_off == (0, 0)
    assert sizes == {(600, 400)}
    run = painted(tmp_path / "own", 3)
    with pytest.raises(InputError, match=r"--render: .*the render mode human; it has rgb_array"):
        distpg.evaluate(run, render=True, watch=fail)
    without_display(monkeypatch)
    if sys.platform == "linux":
        with pytest.raises(InputError, match="--render: there is no display"):
            distpg.evaluate(run, render=True)


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_a_run_shows_clips_of_its_policies_and_takes_the_same_course(
    num_workers: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if num_workers:
        request.getfixturevalue("callers_ray")
    settings: dict[str, Any] = {
        **{"num_workers": num_workers, "num_slots": 1, "num_envs": 2, "num_steps": 16},
        **{"minibatch_size": 16, "hidden_sizes": (4,), "total_steps": 160},
    }
    plain = distpg.train(Config(**settings), run_dir=tmp_path / "plain", quiet=True)
    shown = distpg.train(Config(**settings, video_every=4), run_dir=tmp_path / "shown", quiet=True)
    policies = [(run.run_dir / "policy.safetensors").read_bytes() for run in (plain, shown)]
    assert policies[0] == policies[1]
    events = EventAccumulator(str(shown.run_dir), {"images": 0})
    events.Reload()
    clips = events.Images("clip")
    steps = [event.step for event in events.Scalars("time/total_timesteps")]
    assert clips[0].step == steps[3]
    # beside training, those that are due while one is played come later
    assert len(clips) == len(steps) // 4 or num_workers > 0
    for one in clips:
        assert (one.width, one.height) == (600, 400)
        with Image.open(io.BytesIO(one.encoded_image_string)) as gif:
            assert gif.format == "GIF"
            assert 1 < getattr(gif, "n_frames", 0) <= 200


def test_a_run_whose_environment_does_not_render_is_refused_before_it_starts(
    tmp_path: Path,
) -> None:
    config = Config(num_workers=0, video_every=1)
    with pytest.raises(InputError, match=r"--video-every: .* does not have the render mode"):
        distpg.train(config, make_env=Counting, run_dir=tmp_path / "x")
    assert not (tmp_path / "x").exists()


class Odd(Painted):
    """Renders, but not as a video wants it."""

    kind: ClassVar[str] = ""

    def render(self) -> Any:
        frame = super().render()
        if self.count and self.kind == "exits":
            raise SystemExit(3)
        return frame[: 31 - self.count] if self.kind == "shrinks" else frame


@pytest.mark.parametrize(
    ("kind", "message"), [("shrinks", "frames differ in size"), ("exits", "SystemExit: 3")]
)
def test_a_clip_that_cannot_be_played_is_told_once_and_the_run_goes_on(
    kind: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Odd, "kind", kind)
    config = config_of({**SMALL, "num_workers": 0, "video_every": 1})
    outcome = distpg.train(config, make_env=Odd, run_dir=tmp_path / "run")
    assert outcome.result["stop_reason"] == "total_steps"
    said = capsys.readouterr().out
    assert said.count("a clip could not be played: ") == 1
    assert message in said


@pytest.mark.parametrize("fps", [float("nan"), -5, "fast"])
def test_odd_frame_rates_are_refused_before_the_run_starts(
    fps: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Painted.metadata, "render_fps", fps)
    config = config_of({**SMALL, "num_workers": 0, "video_every": 1})
    with pytest.raises(InputError, match=r"--video-every: .*render_fps is .*, not a positive"):
        distpg.train(config, make_env=Painted, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
