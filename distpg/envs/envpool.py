"""EnvPool's C++ environments as gymnasium vector envs, in NEXT_STEP mode.

They differ from gymnasium's in three ways. A pool is seeded only when it is made, so `reset` makes
a new one. Atari games report lives, but do not terminate when one is lost; `step` adds that. An
episode that terminates in the same step that its time limit is reached is reported as truncated
only.
"""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from distpg.config.settings import EnvKwargs
from distpg.config.values import describe_mismatch, did_you_mean, one_of
from distpg.errors import InputError
from distpg.extras import import_extra

ATARI = "envpool.atari"
# set by the slot or by the env id, or would end the game with a lost life
RESERVED_KWARGS = (
    *("num_envs", "batch_size", "num_threads", "thread_affinity_offset", "max_num_players"),
    *("seed", "env_seed", "gym_reset_return_info", "base_path", "task", "episodic_life"),
)


def check_env_id(env_id: str) -> None:
    """Check that EnvPool has an environment.

    Raises:
        InputError: EnvPool does not have the id, or is not installed.
    """
    if env_id not in _names_by_id():
        raise InputError(
            f"--env-id: {env_id!r} is not in EnvPool; use --env-backend gymnasium, or an id that "
            f"EnvPool has{did_you_mean(env_id, _names_by_id())}"
        )


def _import_envpool() -> Any:
    needed_by, instead = "--env-backend envpool", "use --env-backend gymnasium"
    return import_extra("envpool", "envpool", needed_by=needed_by, instead=instead)


def _names_by_id() -> dict[str, str]:
    """Map env ids to EnvPool's own: Atari games have gymnasium's, ALE/Pong-v5 for Pong-v5."""
    registered = _import_envpool().registration.registry.specs
    return {
        f"ALE/{name}" if module == ATARI else name: name
        for name, (module, *_) in registered.items()
    }


class EnvPoolVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """N copies of an EnvPool environment, stepped by one thread."""

    def __init__(self, env_id: str, kwargs: EnvKwargs, num_envs: int) -> None:
        """Make one copy, to raise errors early; `reset` makes all N.

        Raises:
            InputError: EnvPool rejects the keyword arguments, or cannot make the environment.
        """
        self.name = _names_by_id()[env_id]
        self.is_atari = env_id != self.name
        # sticky actions, the default of gymnasium's ALE ids but not of EnvPool
        defaults = {"repeat_action_probability": 0.25} if self.is_atari else {}
        self.kwargs = {**defaults, **kwargs}
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        try:
            spec = _import_envpool().make_spec(self.name)
            _check_kwargs(env_id, kwargs, spec.config._asdict())
            self.pool: Any = self._make([0])
            self.pool.reset()
        except InputError:
            raise
        except (AssertionError, ImportError, RuntimeError, TypeError, ValueError) as error:
            flag = f"--env-kwargs: {kwargs}: " if kwargs else "--env-id: "
            reason = str(error).partition("\n")[0]
            raise InputError(f"{flag}EnvPool cannot make {env_id}: {reason}") from error
        players = self.pool.config["max_num_players"]
        if players > 1:
            raise InputError(f"--env-id: {env_id} has {players} players; only 1 is supported")
        self.single_observation_space = self.pool.observation_space
        self.single_action_space = _to_float32(self.pool.action_space)

    def _make(self, seeds: list[int]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pool = _import_envpool().make_gymnasium(
                self.name, num_envs=len(seeds), num_threads=1, seed=seeds, **self.kwargs
            )
            # the first access warns about the bounds
            _ = pool.observation_space
            return pool

    def reset(
        self, *, seed: list[int] | int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Make a new pool, with one seed for each copy: a pool cannot be reseeded."""
        assert isinstance(seed, list), "one seed for each env"
        self.pool = self._make([value % 2**31 for value in seed])
        obs, info = self.pool.reset()
        self.lives = info.get("lives")
        return obs, {}

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Any]:
        """Step all copies; an Atari game terminates with each lost life, but is not reset."""
        obs, rewards, terminated, truncated, info = self.pool.step(actions)
        if not self.is_atari:
            return obs, rewards, terminated, truncated, {}
        lost_life = info["lives"] < self.lives
        self.lives = np.where(terminated | truncated, 0, info["lives"])
        return obs, rewards, terminated | lost_life, truncated, {"lives": self.lives}

    def close_extras(self, **kwargs: Any) -> None:
        """Delete the pool, which ends its thread."""
        self.pool = None


def _check_kwargs(env_id: str, kwargs: EnvKwargs, defaults: dict[str, Any]) -> None:
    allowed = sorted(defaults.keys() - set(RESERVED_KWARGS))
    for name, value in kwargs.items():
        if name not in allowed:
            raise InputError(
                f"--env-kwargs: {name} is not allowed for {env_id} in EnvPool; allowed: "
                f"{one_of(allowed)}"
            )
        kind = type(defaults[name])
        problem = describe_mismatch(value, kind) if kind in (int, float, str, bool) else ""
        if problem:
            raise InputError(f"--env-kwargs: {name}: {value!r} is not {problem}")


def _to_float32(space: gym.Space[Any]) -> gym.Space[Any]:
    """Convert a float64 Box to float32, as in gymnasium's MuJoCo envs."""
    if isinstance(space, spaces.Box) and space.dtype == np.float64:
        return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32))
    return space
