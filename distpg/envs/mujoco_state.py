"""The state of gymnasium's MuJoCo environments: what their next step depends on.

A step of MuJoCo depends on `mjSTATE_INTEGRATION` alone: time, positions, velocities, the solver's
warm start, controls and forces. Goals that an environment draws are among the positions.

Ant and Humanoid measure their speed from where bodies were before the step. MuJoCo's positions of
bodies are one time step behind `qpos`, so they cannot be computed from it: they are copied.
Everything else that an environment reads is computed in the step.
"""

import importlib
from typing import Any

import numpy as np

from distpg.errors import InputError

PHYSICS = "physics"
BODIES = ("xpos", "xipos")
"""Arrays [bodies, 3] of `mjData`: the bodies' frames and their centres of mass."""


def has_known_physics(env: Any) -> bool:
    """Return whether an unwrapped environment is gymnasium's, and its state is what is read here.

    Optional features of MuJoCo, such as sleeping, and its plugins keep more between two steps.
    gymnasium's models have none, but its environments take other models.
    """
    if not type(env).__module__.startswith("gymnasium.envs.mujoco."):
        return False
    return not env.model.opt.enableflags and not env.model.nplugin


def read_physics(env: Any) -> dict[str, np.ndarray]:
    """Return copies of an environment's state: the physics [size], and `BODIES`."""
    mujoco = importlib.import_module("mujoco")
    kind = mujoco.mjtState.mjSTATE_INTEGRATION.value
    physics = np.empty(mujoco.mj_stateSize(env.model, kind))
    mujoco.mj_getState(env.model, env.data, physics, kind)
    bodies = {name: getattr(env.data, name).copy() for name in BODIES}
    return {PHYSICS: physics, **bodies}


def write_physics(env: Any, saved: dict[str, np.ndarray]) -> None:
    """Restore a state from `read_physics`.

    Raises:
        InputError: it is of another model, or another version of MuJoCo.
    """
    mujoco = importlib.import_module("mujoco")
    kind = mujoco.mjtState.mjSTATE_INTEGRATION.value
    physics, size = saved[PHYSICS], mujoco.mj_stateSize(env.model, kind)
    if physics.shape != (size,):
        raise InputError(
            f"the saved environment state has {physics.size} numbers; MuJoCo {mujoco.__version__} "
            f"expects {size}: it is of another version, or of another model"
        )
    mujoco.mj_setState(env.model, env.data, physics, kind)
    for name in BODIES:
        getattr(env.data, name)[:] = saved[name]
