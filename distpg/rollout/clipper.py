"""Clips of a policy in the course of a run: an episode as an animated GIF."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from distpg.config.config import Config
from distpg.envs.make import EnvSource, make_vector_env
from distpg.envs.rendering import render_off_screen
from distpg.policy.agent import Agent
from distpg.policy.architecture import Architecture
from distpg.records import Weights
from distpg.report.video import gif_bytes
from distpg.rollout.clip import EncodedClip, play_clip
from distpg.rollout.closing import closing

MAX_FRAMES = 200


class Clipper:
    """Plays episodes of at most `MAX_FRAMES` frames with the modes of the policy's actions."""

    def __init__(self, config: Config, source: EnvSource) -> None:
        """Take the settings, and how to make the environment."""
        self.config = config
        self.source = replace(source, render_mode="rgb_array")
        render_off_screen()

    def clip(self, weights: Weights, attributes: Mapping[str, Any]) -> EncodedClip:
        """Play an episode, always of the same seed, after attributes are set in its env.

        Raises:
            InputError: the environment does not render frames.
            RunError: it raised.
        """
        config = self.config
        with closing(make_vector_env(self.source, 1, first=config.clip_copy)) as envs:
            envs.set_attributes(attributes)
            parts = Architecture.of(config)
            agent = Agent(envs.obs_spec, envs.action_spec, parts, acting=config.acting)
            frames, fps = play_clip(
                lambda num_envs: agent.behaviour(weights, agent.first_state(num_envs)),
                agent.units,
                envs,
                MAX_FRAMES,
                seed=config.seed,
            )
        _, height, width, _ = frames.shape
        return EncodedClip(gif_bytes(frames, fps), width, height)
