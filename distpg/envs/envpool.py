"""EnvPool's environments, written in C++, as vector envs of gymnasium's kind.

They run in NEXT_STEP mode as they come. What differs is made good here, or said: a pool takes its
seeds when it is made, so a reset makes another; Atari counts lives, but ends nothing when one is
lost; and an episode that ends by itself in the very step of its time limit is reported as truncated
alone.
"""

import importlib
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from distpg.config.settings import EnvKwargs
from distpg.config.values import describe_mismatch, did_you_mean, one_of
from distpg.errors import InputError

ATARI = "envpool.atari"
# what the slot decides, what the id does, and what would end the game with a lost life
OWNED = (
    *("num_envs", "batch_size", "num_threads", "thread_affinity_offset", "max_num_players"),
    *("seed", "env_seed", "gym_reset_return_info", "base_path", "task", "episodic_life"),
)


def check_env_id(env_id: str) -> None:
    """Refuse an id that EnvPool does not have.

    Raises:
        InputError: suggests similar ids; or EnvPool is missing.
    """
    if env_id not in _names():
        raise InputError(
            f"--env-id: {env_id!r} is not in EnvPool; take --env-backend gymnasium, or an id that "
            f"EnvPool has{did_you_mean(env_id, _names())}"
        )


def _package() -> Any:
    try:
        return importlib.import_module("envpool")
    except ImportError as error:
        raise InputError(
            f"--env-backend: envpool cannot be imported ({error}); run: pip install "
            "'distpg[envpool]', or take --env-backend gymnasium"
        ) from error


def _names() -> dict[str, str]:
    """From ids to EnvPool's own: Atari games have gymnasium's, ALE/Pong-v5 for Pong-v5."""
    registered = _package().registration.registry.specs
    return {
        f"ALE/{name}" if module == ATARI else name: name
        for name, (module, *_) in registered.items()
    }


class EnvPoolVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """N copies of one of EnvPool's environments, stepped by one thread."""

    def __init__(self, env_id: str, kwargs: EnvKwargs, num_envs: int) -> None:
        """Make one copy, so that what EnvPool refuses is said at once; `reset` makes all.

        Raises:
            InputError: EnvPool does not take the keyword arguments, or cannot make the environment.
        """
        self.name = _names()[env_id]
        self.is_atari = env_id != self.name
        # gymnasium's id repeats an action one time in four; EnvPool's would not
        own = {"repeat_action_probability": 0.25} if self.is_atari else {}
        self.kwargs = {**own, **kwargs}
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        try:
            spec = _package().make_spec(self.name)
            _check_kwargs(env_id, kwargs, spec.config._asdict())
            self.pool: Any = self._make([0])
            self.pool.reset()
        except InputError:
            raise
        except (AssertionError, ImportError, RuntimeError, TypeError, ValueError) as error:
            where = f"--env-kwargs: {kwargs}: " if kwargs else "--env-id: "
            reason = str(error).partition("\n")[0]
            raise InputError(f"{where}EnvPool cannot make {env_id}: {reason}") from error
        players = self.pool.config["max_num_players"]
        if players > 1:
            raise InputError(f"--env-id: {env_id} is for {players} players; 1 is supported")
        self.single_observation_space = self.pool.observation_space
        self.single_action_space = _single_precision(self.pool.action_space)

    def _make(self, seeds: list[int]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pool = _package().make_gymnasium(
                self.name, num_envs=len(seeds), num_threads=1, seed=seeds, **self.kwargs
            )
            # every pool describes its observations anew, and warns of their bounds
            _ = pool.observation_space
            return pool

    def reset(
        self, *, seed: list[int] | int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Make all copies anew, one seed a copy: the only way to seed them."""
        assert isinstance(seed, list), "one seed for each env"
        self.pool = self._make([value % 2**31 for value in seed])
        obs, info = self.pool.reset()
        self.lives = info.get("lives")
        return obs, {}

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Any]:
        """Step all copies; an Atari game terminates with each lost life, and plays on."""
        obs, rewards, terminated, truncated, info = self.pool.step(actions)
        if not self.is_atari:
            return obs, rewards, terminated, truncated, {}
        lost = info["lives"] < self.lives
        self.lives = np.where(terminated | truncated, 0, info["lives"])
        return obs, rewards, terminated | lost, truncated, {"lives": self.lives}

    def close_extras(self, **kwargs: Any) -> None:
        """End the thread of the pool."""
        self.pool = None


def _check_kwargs(env_id: str, kwargs: EnvKwargs, defaults: dict[str, Any]) -> None:
    allowed = sorted(defaults.keys() - set(OWNED))
    for name, value in kwargs.items():
        if name not in allowed:
            raise InputError(
                f"--env-kwargs: {name} cannot be given to {env_id} in EnvPool, which takes "
                f"{one_of(allowed)}"
            )
        kind = type(defaults[name])
        problem = describe_mismatch(value, kind) if kind in (int, float, str, bool) else ""
        if problem:
            raise InputError(f"--env-kwargs: {name}: {value!r} is not {problem}")


def _single_precision(space: gym.Space[Any]) -> gym.Space[Any]:
    """Take real actions as gymnasium's MuJoCo does, in float32."""
    if isinstance(space, spaces.Box) and space.dtype == np.float64:
        return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32))
    return space
