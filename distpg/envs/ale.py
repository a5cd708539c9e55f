"""ALE's games: by its vector implementation with DQN's preprocessing, or one by one without it."""

import importlib
import inspect
from typing import Any

from gymnasium.envs.registration import EnvSpec

from distpg.config.settings import EnvKwargs
from distpg.config.values import did_you_mean, one_of
from distpg.errors import InputError

NAMESPACE = "ALE"
RESERVED = {"episodic_life", "autoreset_mode", "life_loss_info"}
"""A lost life terminates the episode for the learner, but does not reset the game."""
OWN = {"self", "game", "num_envs", "batch_size", "thread_affinity_offset"}
"""Parameters of the vector implementation that the slot or the env id sets."""


def preprocesses(spec: EnvSpec | None, kwargs: EnvKwargs) -> bool:
    """Return whether it is a game that ALE's vector implementation steps.

    It does not know `obs_type`, `mode` and `difficulty`, which need single copies.

    Raises:
        InputError: a keyword argument is unknown or reserved, or they exclude each other.
    """
    if spec is None or spec.namespace != NAMESPACE:
        return False
    if reserved := kwargs.keys() & RESERVED:
        raise InputError(
            f"--env-kwargs: {one_of(sorted(reserved))} cannot be set: a lost life terminates the "
            "episode for the learner, but does not reset the game"
        )
    of_vector = _parameters("ale_py.vector_env", "AtariVectorEnv") - OWN - RESERVED
    # gym.make has parameters of its own
    of_single = _parameters("ale_py.env", "AtariEnv") - OWN | {"max_episode_steps"}
    for name in sorted(kwargs.keys() - of_vector - of_single):
        allowed = sorted(of_vector | of_single)
        raise InputError(
            f"--env-kwargs: {name} is not allowed for {spec.id}{did_you_mean(name, allowed)}; "
            f"allowed: {one_of(allowed)}"
        )
    single = sorted(kwargs.keys() - of_vector)
    if single and (vector := sorted(kwargs.keys() - of_single)):
        raise InputError(
            f"--env-kwargs: {one_of(single)} exclude {one_of(vector)}: the first are of ALE's "
            "single games, the others of its vector implementation"
        )
    return not single


def _parameters(module: str, name: str) -> set[str]:
    constructor = getattr(importlib.import_module(module), name).__init__
    return {*inspect.signature(constructor).parameters}


def vector_kwargs(kwargs: EnvKwargs) -> dict[str, Any]:
    """Return the keyword arguments of the vector implementation."""
    # life_loss_info terminates on a lost life without resetting the game
    return {"life_loss_info": True, "reward_clipping": False, "num_threads": 1, **kwargs}
