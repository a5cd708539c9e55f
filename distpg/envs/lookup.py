"""From the id of an environment to its spec or its class; else what to write or to install."""

import importlib
import re
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from operator import attrgetter
from typing import Any, cast

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from distpg.config.values import did_you_mean, one_of
from distpg.errors import InputError
from distpg.user_code import why_not_imported

MakeEnv = Callable[..., gym.Env[Any, Any]]
EXTRAS = {"mujoco": "mujoco", "box2d": "box2d", "swig": "box2d", "ale": "atari", "atari": "atari"}
"""Extra of distpg by a word in gymnasium's error about a missing dependency."""
OLD_ATARI = re.compile(r"(?P<game>[A-Za-z]+?)(-ram)?(NoFrameskip|Deterministic)?-v[045]")
"""Ids of ALE's games before the namespace."""
PREFIXES = {
    "minigrid": ("MiniGrid-", "BabyAI-"),
    "miniworld": ("MiniWorld-",),
    "gymnasium_robotics": (
        *("Fetch", "HandReach", "HandManipulate", "AntMaze", "PointMaze", "Adroit"),
        "FrankaKitchen",
    ),
    "panda_gym": ("Panda",),
    "vizdoom.gymnasium_wrapper": ("Vizdoom",),
    "safety_gymnasium": ("Safety",),
    "mo_gymnasium": ("mo-", "deep-sea-treasure-", "resource-gathering-"),
    "flappy_bird_gymnasium": ("FlappyBird-",),
    "browsergym.core": ("browsergym/",),
    "metaworld": ("Meta-World/",),
    "PyFlyt.gym_envs": ("PyFlyt/",),
    "gym_pusht": ("gym_pusht/",),
    "gym_aloha": ("gym_aloha/",),
    "gym_xarm": ("gym_xarm/",),
    "shimmy": ("dm_control/",),
    "highway_env": (
        *("highway-", "merge-", "roundabout-", "parking-", "intersection-", "racetrack-"),
        *("two-way-", "u-turn-", "lane-keeping-", "exit-"),
    ),
}
"""Beginnings of ids by the module that registers them when it is imported."""


def look_up(env_id: str) -> EnvSpec | MakeEnv:
    """Return what is registered for an id, else the class or function that module:name names.

    Raises:
        InputError: there is neither.
    """
    if env_id.startswith("<"):
        raise InputError(
            f"--env-id: {env_id} was a Python callable, which is not saved; use distpg.evaluate or "
            "distpg.resume with make_env"
        )
    module, _, name = env_id.rpartition(":")
    imported = None
    try:
        if env_id.startswith("ALE/"):
            register_ale(env_id)
        if ":" in env_id:
            imported = importlib.import_module(module)
        return gym.spec(name)
    except gym.error.Error as error:
        if imported is None or not all(part.isidentifier() for part in name.split(".")):
            raise unregistered(env_id) from error
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        why = why_not_imported(module, error)
        raise InputError(f"--env-id: {env_id!r} {why}") from error
    try:
        make: object = attrgetter(name)(imported)
    except AttributeError as error:
        near = did_you_mean(name, [*gym.registry, *dir(imported)])
        raise InputError(
            f"--env-id: {env_id}: {module} neither registers nor has {name!r}{near}"
        ) from error
    if not callable(make):
        raise InputError(f"--env-id: {env_id} is not a class or function that makes an environment")
    return cast("MakeEnv", make)


def register_ale(env_id: str) -> None:
    """Register ALE's games.

    Raises:
        InputError: ale_py is not installed.
    """
    try:
        gym.register_envs(importlib.import_module("ale_py"))
    except ImportError as error:
        raise missing_extra(env_id, "atari") from error


def unregistered(env_id: str) -> InputError:
    """Return the error for an id that is not registered, with what to write instead."""
    message = f"--env-id: {env_id!r} is not registered in Gymnasium"
    module = next((name for name, starts in PREFIXES.items() if env_id.startswith(starts)), None)
    if module is not None:
        package = module.partition(".")[0]
        if find_spec(package) is None:
            return InputError(
                f"{message}; the package {package} is not installed; install it, then use --env-id "
                f"{module}:{env_id}"
            )
        return InputError(f"{message}; use --env-id {module}:{env_id}, which imports {module}")
    older = OLD_ATARI.fullmatch(env_id)
    if older is not None and find_spec("ale_py") is not None:
        register_ale(env_id)
        current = f"ALE/{older['game']}-v5"
        if current in gym.registry:
            return InputError(f"{message}; its successor is {current}")
    message += did_you_mean(env_id, gym.registry)
    if ":" in env_id:
        return InputError(message)
    message += "; for one of another package use module:Env-v0, which imports the module"
    if modules := dependents():
        message += f"; installed packages that use Gymnasium: {one_of(modules)}"
    return InputError(message)


def dependents() -> list[str]:
    """Return the installed packages, besides distpg, that require Gymnasium."""
    found: set[str] = set()
    for package in metadata.distributions():
        needed = [need for need in package.requires or () if "extra ==" not in need]
        if any(need.partition(";")[0].strip().startswith("gymnasium") for need in needed):
            found.add(package.name.replace("-", "_"))
    return sorted(found - {"distpg"})


def missing_extra(env_id: str, extra: str) -> InputError:
    """Return the error that names the extra to install for an environment."""
    return InputError(
        f"--env-id: {env_id} needs packages that are missing; run: pip install 'distpg[{extra}]'"
    )


def missing_package(env_id: str, error: gym.error.DependencyNotInstalled) -> InputError:
    """Return the error for an environment whose package is missing: an extra, or another one."""
    extra = next((extra for word, extra in EXTRAS.items() if word in str(error).lower()), None)
    if extra is None:
        return InputError(f"--env-id: {env_id} needs a missing package: {error}")
    return missing_extra(env_id, extra)
