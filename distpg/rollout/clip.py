"""Frames of episodes as a policy plays them: of an evaluation, or of one episode by itself."""

from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

import numpy as np

from distpg.envs.rendering import frame_of, frame_rate
from distpg.envs.vector_env import VectorEnv
from distpg.errors import RunError
from distpg.policy.action_units import ActionUnits
from distpg.policy.behaviour import BehaviourPolicy
from distpg.rollout.evaluation import Moment, play_episodes

ENOUGH = 500
"""Frames after which no other episode is recorded."""
MAX_FRAMES = 1_500
"""Frames after which an episode is not recorded further."""


class Clip(NamedTuple):
    """The frames of an episode, from its reset on."""

    frames: np.ndarray
    """[T, H, W, 3] uint8"""
    fps: float
    """Frames per second, as the environment says."""


class EncodedClip(NamedTuple):
    """A clip for TensorBoard."""

    content: bytes
    """The GIF."""
    width: int
    """In pixels."""
    height: int


def play_clip(
    behaviour: Callable[[int], BehaviourPolicy],
    units: ActionUnits,
    envs: VectorEnv,
    max_frames: int,
    *,
    seed: int = 0,
) -> Clip:
    """Play an episode with the modes of the policy's distributions.

    Args:
        behaviour: Makes what acts in so many envs.
        units: Of its actions.
        envs: One copy of the environment, which renders.
        max_frames: Frames after which the episode is left; at least 1.
        seed: Of the environment.

    Raises:
        InputError: the environment does not render frames.
        RunError: they differ in size; or as for `play_episodes`.
    """
    moments = play_episodes(behaviour, units, envs, 1, seed=seed, stochastic=False)
    frames = [frame_of(envs) for _ in islice(moments, max_frames)]
    if len({frame.shape for frame in frames}) > 1:
        raise RunError(f"{envs.env_id}: frames differ in size")
    return Clip(np.stack(frames), frame_rate(envs))


class Recorder:
    """Takes frames of the first env of an evaluation, while its episodes count.

    Episodes are whole, and together have at least `ENOUGH` frames if there are so many; one that is
    longer than `MAX_FRAMES` is cut off there.
    """

    def __init__(self, envs: VectorEnv, write: Callable[[np.ndarray], None]) -> None:
        """Initialize.

        Args:
            envs: Their first copy renders.
            write: Called with each frame, [H, W, 3] uint8.
        """
        self.envs = envs
        self.write = write
        self.frames = self.episodes = 0
        self.within = False
        """Whether the last frame is not that of an episode's end."""
        self.full = False

    def __call__(self, moment: Moment) -> None:
        """Take a frame, if it is to be recorded.

        Raises:
            InputError: the environment did not render one.
        """
        if self.full or not moment.running[0]:
            return
        self.write(frame_of(self.envs))
        self.frames += 1
        self.within = not moment.ended[0]
        self.episodes += not self.within
        self.full = self.frames >= (MAX_FRAMES if self.within else ENOUGH)

    def __str__(self) -> str:
        whole = "1 whole episode" if self.episodes == 1 else f"{self.episodes} whole episodes"
        part = " and the beginning of one" if self.within else ""
        return f"{self.frames:,} frames, {whole}{part}"
