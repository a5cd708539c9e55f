"""Copies that render: frames for a video, or a window."""

import math
import os
import sys
from contextlib import closing
from dataclasses import replace

import numpy as np

from distpg.config.values import one_of
from distpg.envs.guard import RAISED
from distpg.envs.make import is_native, make_copy, make_vector_env
from distpg.envs.numbering import number_copies
from distpg.envs.source import EnvSource, RenderMode
from distpg.envs.vector_env import VectorEnv
from distpg.errors import InputError
from distpg.user_code import format_user_error

FPS = 30.0
"""Frames per second of an environment that does not say how many."""
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
"""Environment variables, one of which is set on Linux where a window can be shown."""
OFF_SCREEN = {"MUJOCO_GL": "egl", "SDL_VIDEODRIVER": "dummy"}
"""Environment variables by which MuJoCo and pygame render without a display."""


def has_display() -> bool:
    """Return whether a window can be shown."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in DISPLAYS)


def render_off_screen() -> None:
    """Set the variables of `OFF_SCREEN` that are not set, if there is no display.

    MuJoCo and pygame read them when they are imported.
    """
    if not has_display():
        for name, value in OFF_SCREEN.items():
            os.environ.setdefault(name, value)


def rendering(source: EnvSource, mode: RenderMode, number: int | None = None) -> EnvSource:
    """Return the same source with a first copy that renders.

    Args:
        source: How to make the environment.
        mode: "rgb_array" for `frame_of`, or "human" for a window.
        number: Of a copy that is made to see its render modes, as for `number_copies`.

    Raises:
        InputError: the environment does not have the mode.
    """
    rendered = replace(source, render_mode=mode)
    if is_native(rendered):
        if mode == "human":
            raise InputError(
                f"{source.name} is stepped by a vector implementation, which shows no window; use "
                "--video"
            )
        with closing(make_vector_env(source, 1, first=number)) as envs:
            modes = {*(envs.metadata.get("render_modes") or ())}
    else:
        (copy,) = number_copies(1, number)
        with closing(make_copy(source, copy)) as env:
            modes = {*(env.metadata.get("render_modes") or ())}
    # gymnasium shows the frames of its registered environments
    if mode not in modes and not (mode == "human" and source.spec and "rgb_array" in modes):
        has = f"it has {one_of(sorted(modes))}" if modes else "it has none"
        raise InputError(f"{source.name} does not have the render mode {mode}; {has}")
    return rendered


def check_frames(source: EnvSource, number: int | None) -> None:
    """Check that a copy renders frames, by its first.

    Raises:
        InputError: it does not.
    """
    rendered = rendering(source, "rgb_array", number)
    with closing(make_vector_env(rendered, 1, first=number)) as envs:
        envs.reset([0])
        frame_rate(envs)
        frame_of(envs)


def frame_rate(envs: VectorEnv) -> float:
    """Return the frames per second that the environment is to be shown with.

    Raises:
        InputError: it says something else than a positive number.
    """
    fps = envs.metadata.get("render_fps") or FPS
    if not isinstance(fps, int | float | np.number) or not 0 < fps < math.inf:
        raise InputError(f"{envs.env_id}: its render_fps is {fps!r:.40}, not a positive number")
    return float(fps)


def frame_of(envs: VectorEnv) -> np.ndarray:
    """Return what the first copy looks like, [H, W, 3] uint8, in an array of its own.

    Raises:
        InputError: it raised, or returned something else.
    """
    try:
        frame = np.array(envs.render())
    except (*RAISED, SystemExit) as error:
        raise InputError(f"{envs.env_id}: render() raised {format_user_error(error)}") from error
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise InputError(
            f"{envs.env_id}: render() returned {frame.dtype} {list(frame.shape)}; a frame is uint8 "
            "[height, width, 3]"
        )
    return frame
