"""Clips beside training, by a process of their own."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from distpg.actors.placement import CLIPS, Places
from distpg.actors.process import Located, Process
from distpg.actors.wait import FAILURES, MIN_START_S, reworded
from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import ProcessLostError, RunError
from distpg.records import Weights

if TYPE_CHECKING:
    from distpg.rollout.clip import EncodedClip

NAME = "the process that plays clips"
FETCH_S = 10.0
"""What a clip that is played has to arrive."""


class ClipActor(Located):
    """The process; what needs torch, or what renders, is imported here alone."""

    def __init__(self, config: Config, source: EnvSource) -> None:
        """Make what plays them."""
        from distpg.policy.operations import use_one_thread
        from distpg.rollout.clipper import Clipper

        # for environments that import torch; Ray leaves a value that the user has set
        os.environ["OMP_NUM_THREADS"] = "1"
        use_one_thread()
        self.clipper = Clipper(config, source)

    def clip(self, weights: Weights, attributes: Mapping[str, Any]) -> "EncodedClip":
        """Play an episode."""
        return self.clipper.clip(weights, attributes)


@dataclass
class RayClip:
    """A clip that is being played."""

    clips: "RayClips"
    ref: Any
    deadline: float
    """Monotonic time: for the process to start, then for the clip."""
    started: bool = False

    def is_done(self) -> bool:
        """Return whether it is played, or too late."""
        if not self.started and self.clips.process.has_started():
            self.started = True
            self.deadline = time.monotonic() + self.clips.timeout_s
        return bool(ray.wait([self.ref], timeout=0)[0]) or time.monotonic() > self.deadline

    def result(self) -> "EncodedClip":
        """Return it once it is done.

        Raises:
            RunError: it could not be played, or not in time.
        """
        if not self.started:
            raise RunError(f"{NAME} found no free CPU")
        try:
            return ray.get(self.ref, timeout=FETCH_S)
        except FAILURES as error:
            found = reworded(error, NAME, "playing a clip")
            self.clips.lost = self.clips.lost or isinstance(found, ProcessLostError)
            raise found from None
        except RayError as error:
            raise RunError(f"{NAME}: {error}") from error


class RayClips:
    """Starts clips in a process."""

    def __init__(self, config: Config, source: EnvSource, places: Places) -> None:
        """Start the process, which nothing waits for."""
        self.lost = False
        """Whether the process died, or hangs."""
        # a process that starts has more time, as any
        self.timeout_s = max(MIN_START_S, config.phase_timeout)
        self.process = Process(ray.remote(ClipActor), places, CLIPS, config, source)

    def begin(self, weights: Weights, attributes: Mapping[str, Any]) -> RayClip:
        """Begin a clip."""
        ref = self.process.actor.clip.remote(weights, attributes)
        return RayClip(self, ref, time.monotonic() + MIN_START_S)

    def close(self) -> None:
        """End the process; an environment of an unfinished clip ends with it."""
        self.process.end()
