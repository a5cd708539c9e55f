"""ALE's games: by its vector implementation with DQN's preprocessing, or one by one without it."""

import importlib
import inspect
from typing import Any

from gymnasium.envs.registration import EnvSpec

from distpg.config.settings import EnvKwargs
from distpg.config.values import did_you_mean, one_of
from distpg.errors import InputError

NAMESPACE = "ALE"
RESERVED = {"episodic_life", "autoreset_mode"}
"""Would reset a game that is not over, or at another time."""
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
            f"--env-kwargs: {one_of(sorted(reserved))} cannot be set: a game is reset when it is "
            "over; life_loss_info is whether a lost life terminates the episode for the learner"
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
    if not isinstance(ends := kwargs.get("life_loss_info", True), bool):
        raise InputError(f"--env-kwargs: life_loss_info {ends!r:.60} is not true or false")
    return not single


def check_variant(spec: EnvSpec, kwargs: EnvKwargs) -> None:
    """Check that a game has the mode and the difficulty that are asked for.

    Raises:
        InputError: it has not; the message says which it has.
    """
    asked = kwargs.keys() & {"mode", "difficulty"}
    if spec.namespace != NAMESPACE or not asked:
        return
    ale_py = importlib.import_module("ale_py")
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    game = ale_py.ALEInterface()
    game.loadROM(importlib.import_module("ale_py.roms").get_rom_path(spec.kwargs["game"]))
    has = {"mode": game.getAvailableModes(), "difficulty": game.getAvailableDifficulties()}
    for name in sorted(asked):
        if kwargs[name] is not None and kwargs[name] not in has[name]:
            raise InputError(
                f"--env-kwargs: {name} {kwargs[name]!r:.60} is not allowed for {spec.id}; allowed: "
                f"{one_of(map(str, has[name]))}"
            )


def _parameters(module: str, name: str) -> set[str]:
    constructor = getattr(importlib.import_module(module), name).__init__
    return {*inspect.signature(constructor).parameters}


def vector_kwargs(kwargs: EnvKwargs) -> dict[str, Any]:
    """Return the keyword arguments of the vector implementation."""
    # life_loss_info terminates on a lost life without resetting the game
    return {"life_loss_info": True, "reward_clipping": False, "num_threads": 1, **kwargs}
