"""Save and restore environment state as arrays and JSON values.

Supported are gymnasium's vector CartPole, its classic control and MuJoCo tasks, and any environment
with `get_state()`, which returns a dict of arrays and JSON values, and `set_state(state)`. For all
but the first, the elapsed steps of time limits and the state of the RNG are saved as well.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.wrappers import TimeLimit

from distpg.envs.mujoco_state import has_known_physics, read_physics, write_physics
from distpg.errors import InputError

CLASSIC_CONTROL = ("state", "steps_beyond_terminated", "last_u")
"""Attributes that are the state of gymnasium's classic control tasks."""
TRANSPARENT = {
    *("TimeLimit", "OrderEnforcing", "PassiveEnvChecker", "ClipAction", "RescaleAction"),
    *("ClipReward", "DtypeObservation", "FilterObservation", "FlattenObservation"),
    *("GrayscaleObservation", "RescaleObservation", "ReshapeObservation", "ResizeObservation"),
    *("MaskedObservation", "HiddenEntries"),
}
"""Wrappers without state, or whose state is saved here."""
# a private attribute of gymnasium, which has no accessor for it
ELAPSED = "_elapsed_steps"


@runtime_checkable
class Stateful(Protocol):
    """An environment that exposes its state, as a dict of arrays and JSON values."""

    def get_state(self) -> dict[str, Any]: ...  # noqa: D102
    def set_state(self, state: dict[str, Any]) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class EnvState:
    """The state of N copies: one entry of `copies` for each, or one for all."""

    copies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def read_native(envs: gym.vector.VectorEnv) -> dict[str, Any] | None:
    """Return the state of a native vector env, or None if it is not known how to read it."""
    if not isinstance(envs, CartPoleVectorEnv):
        return None
    fields = {name: np.copy(getattr(envs, name)) for name in ("state", "steps", "prev_done")}
    return {**fields, "generator": _rng_state(envs)}


def write_native(envs: gym.vector.VectorEnv, fields: dict[str, Any]) -> None:
    """Restore a state from `read_native` in a newly made vector env."""
    envs.reset()
    for name in ("state", "steps", "prev_done"):
        setattr(envs, name, np.copy(fields[name]))
    envs.np_random.bit_generator.state = fields["generator"]


def read_copy(env: gym.Env[Any, Any]) -> dict[str, Any]:
    """Return the state of one copy, which exposes it."""
    return {
        "inner": _read_inner(env.unwrapped),
        "elapsed": [vars(limit)[ELAPSED] for limit in time_limits(env)],
        "generator": _rng_state(env.unwrapped),
    }


def write_copy(env: gym.Env[Any, Any], saved: dict[str, Any]) -> None:
    """Restore a state from `read_copy` in a copy that has been reset.

    Raises:
        InputError: the state has an unknown field, or is of another model.
    """
    inner = env.unwrapped
    if has_known_physics(inner):
        write_physics(inner, saved["inner"])
    elif isinstance(inner, Stateful):
        inner.set_state(saved["inner"])
    else:
        for name, value in saved["inner"].items():
            if name not in CLASSIC_CONTROL:
                raise InputError(f"the saved environment state has an unknown field {name!r}")
            setattr(inner, name, np.copy(value) if isinstance(value, np.ndarray) else value)
    for limit, elapsed in zip(time_limits(env), saved["elapsed"], strict=True):
        vars(limit)[ELAPSED] = elapsed
    inner.np_random.bit_generator.state = saved["generator"]


def exposes_state(env: gym.Env[Any, Any]) -> bool:
    """Return whether an environment's state can be saved and restored."""
    inner = env.unwrapped
    if not all(map(_is_transparent, wrappers(env))):
        return False
    classic = type(inner).__module__.startswith("gymnasium.envs.classic_control.")
    return classic or has_known_physics(inner) or isinstance(inner, Stateful)


def _is_transparent(wrapper: gym.Wrapper[Any, Any, Any, Any]) -> bool:
    kind = type(wrapper)
    # a user's class may have the name of one of them
    own = kind.__module__.startswith(("gymnasium.wrappers.", "distpg."))
    return own and kind.__name__ in TRANSPARENT


def _read_inner(inner: gym.Env[Any, Any]) -> dict[str, Any]:
    if has_known_physics(inner):
        return read_physics(inner)
    if isinstance(inner, Stateful):
        # the environment may keep writing to the arrays that it returned
        return copy.deepcopy(inner.get_state())
    state = {name: getattr(inner, name) for name in CLASSIC_CONTROL if hasattr(inner, name)}
    return {
        name: np.array(value) if isinstance(value, tuple | list | np.ndarray) else value
        for name, value in state.items()
    }


def _rng_state(env: Any) -> dict[str, Any]:
    return env.np_random.bit_generator.state


def wrappers(env: Any) -> Iterator[Any]:
    """Yield the wrappers around an environment or a vector env, outermost first."""
    while isinstance(env, gym.Wrapper | gym.vector.VectorWrapper):
        yield env
        env = env.env


def time_limits(env: gym.Env[Any, Any]) -> list[TimeLimit[Any, Any]]:
    """Return the time limits around an environment, outermost first."""
    return [wrapper for wrapper in wrappers(env) if isinstance(wrapper, TimeLimit)]
