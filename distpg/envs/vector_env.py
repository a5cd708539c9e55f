"""One vector-env interface over gymnasium, ALE and EnvPool.

All run in gymnasium's NEXT_STEP autoreset mode: the step after the end of an episode ignores its
action, resets that copy and returns the first observation. `needs_reset` marks these copies.
"""

import reprlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import concatenate, create_empty_array

from distpg.envs.describe import describe_action, describe_obs
from distpg.envs.envpool import EnvPoolVectorEnv
from distpg.envs.guard import FAULT, Guard, refuse_non_finite
from distpg.envs.masks import mark_mask
from distpg.envs.state import EnvState, read_state, write_state
from distpg.errors import InputError, RunError, format_error
from distpg.spaces import MASK, Obs


class Step(NamedTuple):
    """The result of a step of all N copies."""

    obs: Obs
    """{leaf: [N, *O]}"""
    rewards: np.ndarray
    """[N] float32"""
    terminated: np.ndarray
    """[N] bool; set for each lost life of an Atari game, which is not reset."""
    truncated: np.ndarray
    """[N] bool"""
    needs_reset: np.ndarray
    """[N] bool: the next step resets this copy."""
    faults: dict[int, str]
    """By copy, what it raised; its episode is dropped, and the next step resets a new copy."""


class VectorEnv:
    """N copies of an environment, with flat observations and one description of both spaces."""

    def __init__(
        self, make: Callable[[], gym.vector.VectorEnv], env_id: str, *, drop_bad: bool = False
    ) -> None:
        """Make the vector env.

        Args:
            make: Makes a gymnasium vector env in NEXT_STEP mode: now, and after one raised.
            env_id: For messages.
            drop_bad: Treat NaN and inf as exceptions.
        """
        self.make = make
        self.envs = envs = make()
        self.env_id = env_id
        self.drop_bad = drop_bad
        self.guards_copies = isinstance(envs, gym.vector.SyncVectorEnv)
        self.seeds = np.random.default_rng(0)
        self.first_obs: Obs | None = None
        """Observations of a replaced vector env after its reset; the next step returns them."""
        self.faults_at_reset: dict[int, str] = {}
        """By copy, what it raised in the last `reset`."""
        self.num_envs = envs.num_envs
        self.is_ale = type(envs).__name__ == "AtariVectorEnv"
        self.is_atari = self.is_ale or (isinstance(envs, EnvPoolVectorEnv) and envs.is_atari)
        self.action_spec = describe_action(envs.single_action_space, env_id)
        obs_spec = describe_obs(envs.single_observation_space, env_id)
        self.obs_spec = mark_mask(obs_spec, self.action_spec, env_id)

    def reset(self, seeds: list[int]) -> Obs:
        """Seed and reset every copy, with one seed for each; return {leaf: [N, *O]}."""
        assert len(seeds) == self.num_envs, "one seed for each env"
        self.first_obs = None
        return self._flatten(self.reset_nested(seeds))

    def reset_nested(self, seeds: list[int]) -> Any:
        """Seed and reset every copy; return observations in the env's own nesting."""
        self.seeds = np.random.default_rng(seeds)
        if isinstance(self.envs, gym.vector.SyncVectorEnv | EnvPoolVectorEnv):
            try:
                obs, info = self.envs.reset(seed=list(seeds))
            except Exception as error:
                raise self._explain(error) from None
        elif self.is_ale:
            obs, info = self.envs.reset(seed=np.array(seeds, dtype=np.int64) % 2**31)  # pyright: ignore[reportArgumentType]
        else:
            # gymnasium's own vector envs have one RNG for all copies
            obs, info = self.envs.reset(seed=seeds[0])
        if MASK in info and not self.guards_copies and self.action_spec.sizes:
            raise InputError(
                f"its vector implementation has an {MASK} in the info, which is not supported; put "
                "it into a Dict observation"
            )
        self.faults_at_reset = faults_in(info)
        return obs

    def step(self, actions: np.ndarray) -> Step:
        """Step every copy with its action from `Policy.to_bounds`, [N] or [N, A].

        If a guarded copy raises, only its episode is dropped. If a natively vectorized env raises,
        all its copies are replaced.
        """
        if self.first_obs is not None:
            first_obs, self.first_obs = self.first_obs, None
            return self._idle_step(first_obs, needs_reset=False)
        try:
            outcome = self.envs.step(self.action_spec.to_env(actions))
            if self.drop_bad and not self.guards_copies:
                refuse_non_finite(*outcome[:2])
        except Exception as error:
            if self.guards_copies:
                problem = format_error(self._explain(error))
                raise RunError(f"an environment kept raising: {problem}") from error
            self.close()
            self.envs = self.make()
            seeds = self.seeds.integers(2**31, size=self.num_envs)
            self.first_obs = self.reset([int(seed) for seed in seeds])
            return self._idle_step(self.first_obs, needs_reset=True, fault=format_error(error))
        obs, rewards, terminated, truncated, info = outcome
        terminated = np.asarray(terminated, dtype=bool)
        truncated = np.asarray(truncated, dtype=bool)
        needs_reset = terminated | truncated
        if self.is_atari:
            # a lost life terminates, but does not reset the game
            needs_reset = truncated | (terminated & (info["lives"] == 0))
        rewards = np.asarray(rewards, np.float32)
        obs = self._flatten(obs)
        return Step(obs, rewards, terminated, truncated, needs_reset, faults_in(info))

    def _explain(self, error: Exception) -> Exception:
        """Return an error that names the copy whose observation does not fit its space, if any."""
        if not isinstance(self.envs, gym.vector.SyncVectorEnv):
            return error
        space = self.envs.single_observation_space
        for index, copy in enumerate(self.envs.envs):
            if isinstance(copy, Guard) and not fits(space, obs := copy.last_obs):
                is_array = isinstance(obs, np.ndarray)
                found = f"{obs.dtype} of shape {obs.shape}" if is_array else reprlib.repr(obs)
                return RunError(
                    f"{self.env_id}, env {index}: the observation was {found}, but its space is "
                    f"{space}"
                )
        return error

    def _idle_step(self, obs: Obs, *, needs_reset: bool, fault: str = "") -> Step:
        """Return a step without rewards, which truncates all copies if they need a reset."""
        rewards = np.zeros(self.num_envs, np.float32)
        terminated = np.zeros(self.num_envs, bool)
        truncated = np.full(self.num_envs, needs_reset)
        faults = dict.fromkeys(range(self.num_envs), fault) if fault else {}
        return Step(obs, rewards, terminated, truncated, truncated, faults)

    def _flatten(self, obs: Any) -> Obs:
        leaves = self.obs_spec.flatten(obs)
        if (shape := self.obs_spec.batch_shape(leaves)) != (self.num_envs,):
            raise RunError(
                f"the environment returned observations of batch shape {list(shape)}, not "
                f"[{self.num_envs}]"
            )
        return leaves

    def get_state(self) -> EnvState | None:
        """Return the state of all copies, or None if the environment does not expose it."""
        state = read_state(self.envs)
        if state is not None and not self.guards_copies:
            own = {"seeds": self.seeds.bit_generator.state, "first_obs": self.first_obs}
            state = EnvState([*state.copies, own])
        return state

    def set_state(self, state: EnvState) -> None:
        """Restore a state from `get_state` in all copies."""
        if not self.guards_copies:
            *copies, own = state.copies
            state = EnvState(copies)
            self.seeds.bit_generator.state = own["seeds"]
            self.first_obs = own["first_obs"]
        write_state(self.envs, state)

    def close(self) -> None:
        """Close all copies, ignoring errors."""
        with suppress(Exception):
            self.envs.close()


def fits(space: gym.Space[Any], obs: Any) -> bool:
    """Return whether an observation can be stored in an array of its space."""
    try:
        concatenate(space, [obs], create_empty_array(space, 1))
    except Exception:
        return False
    return True


def faults_in(info: dict[str, Any]) -> dict[int, str]:
    """Return the faults in the info of a vector env, by copy."""
    if FAULT not in info:
        return {}
    return {int(n): str(info[FAULT][n]) for n in np.flatnonzero(info[f"_{FAULT}"])}
