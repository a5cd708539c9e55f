"""Save and restore environment state as arrays and JSON values.

Supported are gymnasium's vector CartPole, its classic control tasks, and any environment with
`get_state()`, which returns a dict of arrays and JSON values, and `set_state(state)`. For the last
two, the elapsed steps of time limits and the state of the RNG are saved as well.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from distpg.envs.guard import Guard
from distpg.errors import InputError

CLASSIC_CONTROL = ("state", "steps_beyond_terminated", "last_u")
"""Attributes that are the state of gymnasium's classic control tasks."""
TRANSPARENT = {
    *("Guard", "TimeLimit", "OrderEnforcing", "PassiveEnvChecker", "ClipAction", "RescaleAction"),
    *("ClipReward", "DtypeObservation", "FilterObservation", "FlattenObservation"),
    *("GrayscaleObservation", "RescaleObservation", "ReshapeObservation", "ResizeObservation"),
    "MaskedObservation",
}
"""Wrappers without state, or whose state is saved here."""
# private attributes of gymnasium, which has no accessors for them
PENDING_RESETS = "_autoreset_envs"
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


def read_state(envs: gym.vector.VectorEnv) -> EnvState | None:
    """Return the state of all copies, or None if the environment does not expose it."""
    if isinstance(envs, CartPoleVectorEnv):
        fields = {name: np.copy(getattr(envs, name)) for name in ("state", "steps", "prev_done")}
        return EnvState([{**fields, "generator": _rng_state(envs)}])
    if not isinstance(envs, SyncVectorEnv) or not all(map(exposes_state, envs.envs)):
        return None
    copies: list[dict[str, Any]] = []
    for env, needs_reset in zip(envs.envs, vars(envs)[PENDING_RESETS], strict=True):
        copies.append(
            {
                "inner": _read_inner(env.unwrapped),
                "elapsed": [vars(limit)[ELAPSED] for limit in time_limits(env)],
                "generator": _rng_state(env.unwrapped),
                "needs_reset": bool(needs_reset),
                "seeds": [guard.seeds.bit_generator.state for guard in guards(env)],
            }
        )
    return EnvState(copies)


def write_state(envs: gym.vector.VectorEnv, state: EnvState) -> None:
    """Restore a state from `read_state` in newly made copies."""
    envs.reset()
    if isinstance(envs, CartPoleVectorEnv):
        (fields,) = state.copies
        for name in ("state", "steps", "prev_done"):
            setattr(envs, name, np.copy(fields[name]))
        envs.np_random.bit_generator.state = fields["generator"]
        return
    assert isinstance(envs, SyncVectorEnv), "read_state returns None for other vector envs"
    for index, (env, saved) in enumerate(zip(envs.envs, state.copies, strict=True)):
        inner = env.unwrapped
        if isinstance(inner, Stateful):
            inner.set_state(saved["inner"])
        else:
            for name, value in saved["inner"].items():
                if name not in CLASSIC_CONTROL:
                    raise InputError(f"the saved environment state has an unknown field {name!r}")
                setattr(inner, name, np.copy(value) if isinstance(value, np.ndarray) else value)
        for limit, elapsed in zip(time_limits(env), saved["elapsed"], strict=True):
            vars(limit)[ELAPSED] = elapsed
        inner.np_random.bit_generator.state = saved["generator"]
        vars(envs)[PENDING_RESETS][index] = saved["needs_reset"]
        for guard, seeds in zip(guards(env), saved["seeds"], strict=True):
            guard.seeds.bit_generator.state = seeds


def guards(env: gym.Env[Any, Any]) -> list[Guard]:
    """Return the guards around an environment: one, or none if it is natively vectorized."""
    return [wrapper for wrapper in wrappers(env) if isinstance(wrapper, Guard)]


def exposes_state(env: gym.Env[Any, Any]) -> bool:
    """Return whether an environment's state can be saved and restored."""
    inner = env.unwrapped
    if not all(type(wrapper).__name__ in TRANSPARENT for wrapper in wrappers(env)):
        return False
    classic = type(inner).__module__.startswith("gymnasium.envs.classic_control.")
    return classic or isinstance(inner, Stateful)


def _read_inner(inner: gym.Env[Any, Any]) -> dict[str, Any]:
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


def wrappers(env: gym.Env[Any, Any]) -> Iterator[gym.Wrapper[Any, Any, Any, Any]]:
    """Yield the wrappers around an environment, outermost first."""
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env


def time_limits(env: gym.Env[Any, Any]) -> list[TimeLimit[Any, Any]]:
    """Return the time limits around an environment, outermost first."""
    return [wrapper for wrapper in wrappers(env) if isinstance(wrapper, TimeLimit)]
