"""The door to every environment: N copies stepped together, whatever library steps them.

All run in gymnasium's NEXT_STEP mode: the step after an episode's end ignores its action, resets
that copy and returns its first observation. `needs_reset` says which copies will do so.
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
from distpg.envs.guard import FAULT, check_finite
from distpg.envs.masks import mark_mask
from distpg.envs.state import EnvState, read_state, write_state
from distpg.errors import InputError, RunError, format_error
from distpg.spaces import MASK, Obs


class Step(NamedTuple):
    """What one step of all N copies gave."""

    obs: Obs
    """{leaf: [N, *O]}"""
    rewards: np.ndarray
    """[N] float32"""
    terminated: np.ndarray
    """[N] bool; an ALE game sets it for each lost life, and plays on."""
    truncated: np.ndarray
    """[N] bool"""
    needs_reset: np.ndarray
    """[N] bool: the next step resets this copy."""
    faults: dict[int, str]
    """By copy, what it raised; its episode is lost, and the next step resets a new copy."""


class VectorEnv:
    """N copies of an environment behind one description of what they observe and accept."""

    def __init__(
        self, make: Callable[[], gym.vector.VectorEnv], env_id: str, *, drop_bad: bool = False
    ) -> None:
        """Make a gymnasium vector env in NEXT_STEP mode.

        Args:
            make: Makes one, at first and in place of one that raised.
            env_id: For messages.
            drop_bad: Take NaN and infinity for a fault, too.
        """
        self.make = make
        self.envs = envs = make()
        self.env_id = env_id
        self.drop_bad = drop_bad
        self.guards_copies = isinstance(envs, gym.vector.SyncVectorEnv)
        self.seeds = np.random.default_rng(0)
        self.first: Obs | None = None
        """First observations of a vector env made anew, which the next step is to return."""
        self.faults_at_reset: dict[int, str] = {}
        """By copy, what those raised that the last reset made anew."""
        self.num_envs = envs.num_envs
        self.is_ale = type(envs).__name__ == "AtariVectorEnv"
        self.is_atari = self.is_ale or (isinstance(envs, EnvPoolVectorEnv) and envs.is_atari)
        self.action_spec = describe_action(envs.single_action_space, env_id)
        obs_spec = describe_obs(envs.single_observation_space, env_id)
        self.obs_spec = mark_mask(obs_spec, self.action_spec, env_id)

    def reset(self, seeds: list[int]) -> Obs:
        """Seed and reset every copy; one seed a copy."""
        assert len(seeds) == self.num_envs, "one seed for each env"
        self.first = None
        return self._leaves(self.reset_nested(seeds))

    def reset_nested(self, seeds: list[int]) -> Any:
        """Do so, and return the observations as the env nests them."""
        self.seeds = np.random.default_rng(seeds)
        if isinstance(self.envs, gym.vector.SyncVectorEnv | EnvPoolVectorEnv):
            try:
                obs, info = self.envs.reset(seed=list(seeds))
            except Exception as error:
                raise self._explained(error) from None
        elif self.is_ale:
            obs, info = self.envs.reset(seed=np.array(seeds, dtype=np.int64) % 2**31)  # pyright: ignore[reportArgumentType]
        else:
            # one generator serves all copies, as in gymnasium's own vector envs
            obs, info = self.envs.reset(seed=seeds[0])
        if MASK in info and not self.guards_copies and self.action_spec.sizes:
            raise InputError(
                f"its vector implementation tells an {MASK} in the info, which is read of single "
                "copies alone; put it into a Dict observation"
            )
        self.faults_at_reset = faults_in(info)
        return obs

    def step(self, actions: np.ndarray) -> Step:
        """Step every copy with its action as `Policy.to_bounds` gives it, [N] or [N, A].

        A copy that raises is guarded by itself; of a vector env of its own all copies are lost.
        """
        if self.first is not None:
            first, self.first = self.first, None
            return self._standing(first, needs_reset=False)
        try:
            outcome = self.envs.step(self.action_spec.to_env(actions))
            if self.drop_bad and not self.guards_copies:
                check_finite(*outcome[:2])
        except Exception as error:
            if self.guards_copies:
                problem = format_error(self._explained(error))
                raise RunError(f"an environment raised again and again: {problem}") from error
            self.close()
            self.envs = self.make()
            seeds = self.seeds.integers(2**31, size=self.num_envs)
            self.first = self.reset([int(seed) for seed in seeds])
            return self._standing(self.first, needs_reset=True, fault=format_error(error))
        obs, rewards, terminated, truncated, info = outcome
        terminated = np.asarray(terminated, dtype=bool)
        truncated = np.asarray(truncated, dtype=bool)
        needs_reset = terminated | truncated
        if self.is_atari:
            # a lost life terminates, but the game plays on
            needs_reset = truncated | (terminated & (info["lives"] == 0))
        rewards = np.asarray(rewards, np.float32)
        return Step(self._leaves(obs), rewards, terminated, truncated, needs_reset, faults_in(info))

    def _explained(self, error: Exception) -> Exception:
        """Name the copy whose observation is not what its space says, if that is what is wrong."""
        if not isinstance(self.envs, gym.vector.SyncVectorEnv):
            return error
        space = self.envs.single_observation_space
        for number, copy in enumerate(self.envs.envs):
            obs = vars(copy).get("last")
            if not fits(space, obs):
                is_array = isinstance(obs, np.ndarray)
                came = f"{obs.dtype} of shape {obs.shape}" if is_array else reprlib.repr(obs)
                return RunError(
                    f"{self.env_id}, env {number}: the observation was {came}, where its space is "
                    f"{space}"
                )
        return error

    def _standing(self, obs: Obs, *, needs_reset: bool, fault: str = "") -> Step:
        nothing, ends = np.zeros(self.num_envs, bool), np.full(self.num_envs, needs_reset)
        faults = dict.fromkeys(range(self.num_envs), fault) if fault else {}
        return Step(obs, np.zeros(self.num_envs, np.float32), nothing, ends, ends, faults)

    def _leaves(self, obs: Any) -> Obs:
        leaves = self.obs_spec.flatten(obs)
        if self.obs_spec.batch_shape(leaves) != (self.num_envs,):
            raise RunError(
                f"the environment returned observations of other than {self.num_envs} envs"
            )
        return leaves

    def get_state(self) -> EnvState | None:
        """Read the state of all copies, or None where the environment does not offer it."""
        state = read_state(self.envs)
        if state is not None and not self.guards_copies:
            own = {"seeds": self.seeds.bit_generator.state, "first": self.first}
            state = EnvState([*state.copies, own])
        return state

    def set_state(self, state: EnvState) -> None:
        """Put all copies into a state that `get_state` read."""
        if not self.guards_copies:
            *copies, own = state.copies
            state = EnvState(copies)
            self.seeds.bit_generator.state = own["seeds"]
            self.first = own["first"]
        write_state(self.envs, state)

    def close(self) -> None:
        """Close all copies, whatever they make of it."""
        with suppress(Exception):
            self.envs.close()


def fits(space: gym.Space[Any], obs: Any) -> bool:
    """Tell whether an observation can stand in an array of its space's."""
    try:
        concatenate(space, [obs], create_empty_array(space, 1))
    except Exception:
        return False
    return True


def faults_in(info: dict[str, Any]) -> dict[int, str]:
    """Read from a vector env's info which copies raised, and what."""
    if FAULT not in info:
        return {}
    return {int(n): str(info[FAULT][n]) for n in np.flatnonzero(info[f"_{FAULT}"])}
