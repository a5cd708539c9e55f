"""The environment under test."""

import copy
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from distpg.config.config import Config
from distpg.doctor.trace import (
    MAX_KEPT,
    MAX_S,
    MAX_STEPS,
    SEED,
    StepResult,
    random_steps,
    same_step,
    sample,
)
from distpg.envs.make import find_source, make_vector_env
from distpg.envs.masks import find_masks
from distpg.envs.single import Single
from distpg.envs.source import EnvSource
from distpg.envs.vector_env import Step, VectorEnv
from distpg.rollout.closing import closing
from distpg.spaces import MASK, ActionSpec, Obs, ObsSpec


class Subject:
    """The environment under test, and objects that several checks share, made on first use."""

    def __init__(self, config: Config) -> None:
        """Find the environment that a configuration names.

        Raises:
            InputError: there is none.
        """
        self.config = config
        self.unmasked = replace(find_source(config, None), drop_bad=False)
        """The source before it is checked for action masks."""
        self.opened: list[Any] = []
        """What the properties below have made."""
        self.slowest_s = 0.0
        """Longest time that making, resetting or stepping a copy has taken."""

    def close(self) -> list[str]:
        """Close what was made; return what did not close in time."""
        opened, self.opened = self.opened, []
        return [name for envs in opened for name in envs.close()]

    @cached_property
    def source(self) -> EnvSource:
        """The source, with the action mask, if any, in the observation."""
        with closing(Single(self.unmasked)) as single:
            _, info = single.env.reset(seed=SEED)
            return replace(self.unmasked, masks=find_masks(single.env, info))

    @cached_property
    def env(self) -> Any:
        """One copy."""
        self.opened.append(single := Single(self.source))
        return single.env

    @cached_property
    def results(self) -> list[StepResult]:
        """The results of the first steps of `env`."""
        return list(random_steps(self.env, self.specs, max_kept=MAX_KEPT))

    @cached_property
    def first_difference(self) -> int | None:
        """The first step whose result differs on another copy, or None."""
        obs_spec, _ = self.specs
        with closing(Single(self.source)) as single:
            repeated = random_steps(single.env, self.specs, max_steps=MAX_KEPT, max_kept=MAX_KEPT)
            for number, (one, other) in enumerate(zip(self.results, repeated, strict=False)):
                if not same_step(one, other, obs_spec):
                    return number
        return None

    @property
    def specs(self) -> tuple[ObsSpec, ActionSpec]:
        """Observations and actions."""
        return self.pair.obs_spec, self.pair.action_spec

    @cached_property
    def pair(self) -> VectorEnv:
        """Two copies."""
        self.opened.append(pair := make_vector_env(self.source, 2))
        return pair


def random_vector_steps(envs: VectorEnv) -> Iterator[tuple[Step, np.ndarray]]:
    """Reset two copies and take random steps, the same ones at every call."""
    rng = np.random.default_rng(SEED)
    end = time.perf_counter() + MAX_S
    obs = envs.reset([SEED, SEED + 1])
    for _ in range(MAX_STEPS):
        actions = sample(envs.action_spec, rng, 2, obs.get(MASK))
        step = envs.step(actions)
        obs = step.obs
        yield copy.deepcopy(step), actions
        if time.perf_counter() > end:
            return


def obs_of(step: Step, env: int) -> Obs:
    """Copy the observation of one env."""
    return {name: leaf[env].copy() for name, leaf in step.obs.items()}
