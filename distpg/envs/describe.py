"""Convert gymnasium spaces to `ObsSpec` and `ActionSpec`."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeGuard

import numpy as np
from gymnasium import Space, spaces

from distpg.config.values import one_of
from distpg.envs.pictures import check_pixels, is_picture, scale_of, why_vector
from distpg.errors import InputError
from distpg.spaces import ActionSpec, Leaf, ObsSpec

Path = tuple[str | int, ...]
SUPPORTED_OBS = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of these"
SUPPORTED_ACTIONS = "Discrete, MultiDiscrete, MultiBinary, and Box of floats"


def describe_obs(
    space: Space[Any], env_id: str, image_keys: tuple[str, ...] | None = None
) -> ObsSpec:
    """Return the leaves of an observation space.

    Args:
        space: Of one env.
        env_id: For messages.
        image_keys: Names of the leaves to read as pictures; None leaves it to their spaces.

    Raises:
        InputError: the space is empty, a part of it is empty or not supported, or one of
            `image_keys` is not a leaf that can be a picture.
    """
    parts = dict(_parts(space, ()))
    if not parts:
        raise InputError(f"--env-id: {env_id} has an empty observation space: {space}")
    names = [_name(path) for path in parts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"--env-id: {env_id} has two observations of the name {twice!r}; rename a key of its "
            "Dict"
        )
    for key in image_keys or ():
        if key not in names:
            raise InputError(
                f"--image-keys: {key!r} is not an observation of {env_id}; choose from "
                f"{one_of(names)}, or use auto or none"
            )
    try:
        leaves = [_leaf(part, path, env_id) for path, part in parts.items()]
    except InputError as error:
        raise InputError(f"{error}{_remedy(space)}") from error
    if image_keys is not None:
        leaves = [
            _forced(leaf, part, named=leaf.name in image_keys)
            for leaf, part in zip(leaves, parts.values(), strict=True)
        ]
    return ObsSpec(tuple(leaves))


def _remedy(space: Space[Any]) -> str:
    """Return how to keep the parts of a Dict that are supported, to append to a message."""
    kept: list[str] = []
    for key, part in space.spaces.items() if isinstance(space, spaces.Dict) else ():
        with suppress(InputError):
            kept += [key] if [_leaf(leaf, path, "") for path, leaf in _parts(part, (key,))] else []
    if not kept:
        return "; an --env-wrapper module:Wrapper may encode it"
    keys = json.dumps({"filter_keys": kept})
    return f"; keep the others by --env-wrapper 'gymnasium.wrappers:FilterObservation{keys}'"


def _parts(space: Space[Any], path: Path) -> Iterator[tuple[Path, Space[Any]]]:
    """Yield the path to each leaf of a space, and its own space."""
    if isinstance(space, spaces.Dict):
        parts: Iterable[tuple[str | int, Space[Any]]] = space.spaces.items()
    elif isinstance(space, spaces.Tuple):
        parts = enumerate(space.spaces)
    else:
        yield path, space
        return
    for key, part in parts:
        yield from _parts(part, (*path, key))


def _name(path: Path) -> str:
    # a slash within a key as in JSON Pointer (RFC 6901)
    keys = [str(key).replace("~", "~0").replace("/", "~1") for key in path]
    return "/".join(keys) or "obs"


def _leaf(space: Space[Any], path: Path, env_id: str) -> Leaf:
    name = _name(path)
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        if 0 in space.shape:
            raise InputError(f"--env-id: {env_id} has an empty observation {name}: {space}")
        dtype = "float32" if space.dtype == np.float64 else str(space.dtype)
        if is_picture(space):
            return Leaf(name, path, space.shape, dtype, "image", scale=scale_of(space))
        return Leaf(name, path, space.shape, dtype, "vector", note=why_vector(space))
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        sizes, starts = _choices(space)
        return Leaf(name, path, space.shape or (), "int64", "categories", sizes, starts)
    raise InputError(
        f"--env-id: {env_id} has an unsupported observation {name}: {type(space).__name__}; "
        f"supported: {SUPPORTED_OBS}"
    )


def _forced(leaf: Leaf, space: Space[Any], *, named: bool) -> Leaf:
    """Read a leaf as a picture if `--image-keys` names it, and else not.

    Raises:
        InputError: it cannot be a picture.
    """
    if named:
        pixels = check_pixels(space, leaf.name)
        return replace(leaf, kind="image", layout="", scale=scale_of(pixels), note="")
    if leaf.kind == "image":
        note = "--image-keys does not name it"
        return Leaf(leaf.name, leaf.path, leaf.shape, leaf.dtype, "vector", note=note)
    return leaf


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
