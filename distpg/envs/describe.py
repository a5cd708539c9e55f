"""Convert gymnasium spaces to `ObsSpec` and `ActionSpec`."""

import json
from contextlib import suppress
from typing import Any, TypeGuard

import numpy as np
from gymnasium import Space, spaces

from distpg.errors import InputError
from distpg.spaces import ActionSpec, Leaf, ObsSpec

SUPPORTED_OBS = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of these"
SUPPORTED_ACTIONS = "Discrete, MultiDiscrete, MultiBinary, and Box of floats"


def describe_obs(space: Space[Any], env_id: str) -> ObsSpec:
    """Return the leaves of an observation space.

    Raises:
        InputError: the space is empty, or a part of it is empty or not supported.
    """
    try:
        leaves = _leaves(space, (), env_id)
    except InputError as error:
        raise InputError(f"{error}{_remedy(space)}") from error
    if not leaves:
        raise InputError(f"--env-id: {env_id} has an empty observation space: {space}")
    names = [leaf.name for leaf in leaves]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"--env-id: {env_id} has two observations of the name {twice!r}; rename a key of its "
            "Dict"
        )
    return ObsSpec(tuple(leaves))


def _remedy(space: Space[Any]) -> str:
    """Return how to keep the parts of a Dict that are supported, to append to a message."""
    kept: list[str] = []
    for key, part in space.spaces.items() if isinstance(space, spaces.Dict) else ():
        with suppress(InputError):
            kept += [key] if _leaves(part, (key,), "") else []
    if not kept:
        return "; an --env-wrapper module:Wrapper may encode it"
    keys = json.dumps({"filter_keys": kept})
    return f"; keep the others by --env-wrapper 'gymnasium.wrappers:FilterObservation{keys}'"


def _leaves(space: Space[Any], path: tuple[str | int, ...], env_id: str) -> list[Leaf]:
    if isinstance(space, spaces.Dict):
        parts = space.spaces.items()
        return [leaf for key, part in parts for leaf in _leaves(part, (*path, key), env_id)]
    if isinstance(space, spaces.Tuple):
        parts = enumerate(space.spaces)
        return [leaf for key, part in parts for leaf in _leaves(part, (*path, key), env_id)]
    # a slash within a key as in JSON Pointer (RFC 6901)
    keys = [str(key).replace("~", "~0").replace("/", "~1") for key in path]
    name = "/".join(keys) or "obs"
    if isinstance(space, spaces.Box):
        if 0 in space.shape:
            raise InputError(f"--env-id: {env_id} has an empty observation {name}: {space}")
        is_image = space.dtype == np.uint8 and len(space.shape) in (2, 3)
        dtype = "float32" if space.dtype == np.float64 else str(space.dtype)
        return [Leaf(name, path, space.shape, dtype, "image" if is_image else "vector")]
    if isinstance(space, spaces.MultiBinary):
        return [Leaf(name, path, space.shape, "int8", "vector")]
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        sizes, starts = _choices(space)
        return [Leaf(name, path, space.shape or (), "int64", "categories", sizes, starts)]
    raise InputError(
        f"--env-id: {env_id} has an unsupported observation {name}: {type(space).__name__}; "
        f"supported: {SUPPORTED_OBS}"
    )


def _choices(
    space: "spaces.Discrete | spaces.MultiDiscrete",
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    counts = space.n if isinstance(space, spaces.Discrete) else space.nvec
    sizes = tuple(int(size) for size in np.ravel(counts))
    return sizes, tuple(int(start) for start in np.ravel(space.start))


def _is_continuous(space: Space[Any]) -> TypeGuard[spaces.Box]:
    return (
        isinstance(space, spaces.Box)
        and np.issubdtype(space.dtype, np.floating)
        and 0 not in space.shape
    )


def describe_action(space: Space[Any], env_id: str) -> ActionSpec:
    """Return the description of an action space.

    Raises:
        InputError: the space is empty or not supported.
    """
    if isinstance(space, spaces.Discrete):
        sizes, starts = _choices(space)
        return ActionSpec("categorical", (), str(space.dtype), sizes, starts)
    if isinstance(space, spaces.MultiDiscrete):
        sizes, starts = _choices(space)
        return ActionSpec("multi_categorical", space.shape, str(space.dtype), sizes, starts)
    if isinstance(space, spaces.MultiBinary):
        return ActionSpec("binary", space.shape, str(space.dtype))
    if _is_continuous(space):
        low, high = (tuple(map(float, side.ravel())) for side in (space.low, space.high))
        return ActionSpec("continuous", space.shape, str(space.dtype), low=low, high=high)
    raise InputError(
        f"--env-id: {env_id} has an unsupported action space: {space}; supported: "
        f"{SUPPORTED_ACTIONS}"
    )
