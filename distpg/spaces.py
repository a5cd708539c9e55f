"""Observation and action specs: plain values that describe an env's spaces without gymnasium.

An observation is always a flat dict of leaves, however the env nests it. `envs/describe.py` makes
specs from an env's spaces, networks are built from them, and a policy file contains them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, reduce
from typing import Annotated, Any, Literal, TypeVar

import numpy as np

from distpg.config.values import Range, check_fields
from distpg.errors import InputError

Size = Annotated[int, Range(1)]
Part = TypeVar("Part", "Leaf", "ActionSpec")
Obs = dict[str, np.ndarray]
Layout = Literal["HW", "HWC", "CHW", "SHWC", "SCHW"]
"""Axes of a picture: height, width, channels, and a stack of pictures."""
PICTURE_AXES = (2, 3, 4)
MASK = "action_mask"
"""Name of the leaf that marks the allowed actions."""


def join_masks(mask: Any) -> Any:
    """Concatenate a mask given as one array per choice, to [n] or [B, n]; return others as is."""
    separate = isinstance(mask, tuple | list) and any(np.ndim(part) for part in mask)
    return np.concatenate([np.asarray(part) for part in mask], -1) if separate else mask


def layout_of(shape: tuple[int, ...]) -> Layout:
    """Return the axes of a picture: the channels are the shorter of the first and last axis.

    Of a stack they are the shorter of the second and last axis.

    Raises:
        ValueError: it does not have two to four axes.
    """
    if len(shape) not in PICTURE_AXES:
        raise ValueError(f"a picture has 2 to 4 axes, not the shape {list(shape)}")
    if len(shape) == 2:
        return "HW"
    channels_last = shape[-1] < shape[-3]
    if len(shape) == 3:
        return "HWC" if channels_last else "CHW"
    return "SHWC" if channels_last else "SCHW"


class MissingLeafError(InputError):
    """An observation lacks a leaf."""


@dataclass(frozen=True)
class Leaf:
    """One array of an observation.

    `path` leads to it through the env's nested dicts and tuples. A `vector` is any real array; an
    `image` has the axes of `layout`, and its pixels are divided by `scale`; `categories` are
    integers, entry k of them in [starts[k], starts[k] + sizes[k]). A `mask` has an entry for each
    action: whether it is allowed.
    """

    name: str
    path: tuple[str | int, ...]
    shape: tuple[Size, ...]
    dtype: str
    kind: Literal["vector", "image", "categories", "mask"]
    sizes: tuple[Size, ...] = ()
    starts: tuple[int, ...] = ()
    layout: Layout | Literal[""] = ""
    """Of an image; by default that of `layout_of`, as in policy files of format 1."""
    scale: Annotated[float, Range(0, open_low=True)] = 255.0
    """Of an image."""
    note: str = field(default="", compare=False)
    """Why it is not an image, though it has as many axes; not saved."""

    def __post_init__(self) -> None:
        """Fill in the layout of an image.

        Raises:
            ValueError: an image does not have the axes of its layout.
        """
        if self.kind == "image":
            layout = self.layout or layout_of(self.shape)
            if len(layout) != len(self.shape):
                raise ValueError(f"{self.name} has the layout {layout}, shape {self.shape}")
            object.__setattr__(self, "layout", layout)

    def get(self, obs: Any) -> Any:
        """Return the part of an env's observation that the path leads to."""
        return reduce(lambda part, key: part[key], self.path, obs)

    def read(self, obs: Any) -> np.ndarray:
        """Return this part of an observation as a C-contiguous array of the leaf's dtype.

        Args:
            obs: Of one env, or batched, as the env nests it. The shape is not checked.

        Raises:
            MissingLeafError: the part is missing.
            InputError: as from `convert`.
        """
        return self.convert(self.find(obs))

    def find(self, obs: Any) -> Any:
        """Return this part of an observation as it is.

        Raises:
            MissingLeafError: it is missing.
        """
        try:
            return self.get(obs)
        except (IndexError, KeyError, TypeError) as error:
            raise MissingLeafError(
                f"{obs!r:.100} is not an observation: {self.name!r} is missing"
            ) from error

    def convert(self, part: Any) -> np.ndarray:
        """Convert this part of an observation, single or batched, to the leaf's dtype.

        Raises:
            InputError: it is not numeric, the dtype cannot represent it, as 0.5 or 256 in uint8, or
                a category is out of range.
        """
        try:
            given = np.asarray(part)
            if given.dtype.kind not in "biuf":
                raise ValueError("not an array of numbers")
            array = given
            if given.dtype != self.dtype or not given.flags.c_contiguous:
                with np.errstate(over="ignore", invalid="ignore"):
                    array = np.require(given, self.dtype, "C")
        except (OverflowError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"observation {self.name!r} is {part!r:.60}: {error}") from error
        if self.kind == "mask" and ((given != 0) & (given != 1)).any():
            raise InputError(f"the action mask is {part!r:.60}; its entries must be 0 or 1")
        if given.dtype != array.dtype:
            is_float = array.dtype.kind == "f"
            lost = np.isinf(array) & np.isfinite(given) if is_float else array != given
            if lost.any():
                raise InputError(
                    f"observation {self.name!r} contains {given[lost][0]:g} as {given.dtype}, "
                    f"which {self.dtype} cannot represent"
                )
        if self.kind == "categories":
            codes = array - np.reshape(self.starts, self.shape)
            if ((codes < 0) | (codes >= np.reshape(self.sizes, self.shape))).any():
                raise InputError(f"observation {self.name!r} is {array}, which is out of range")
        return array


@dataclass(frozen=True)
class ObsSpec:
    """The leaves of an observation, in a fixed order."""

    leaves: tuple[Leaf, ...]

    @property
    def inputs(self) -> tuple[Leaf, ...]:
        """The network inputs: all leaves but the mask."""
        return tuple(leaf for leaf in self.leaves if leaf.kind != "mask")

    @property
    def is_masked(self) -> bool:
        """Whether the environment has an action mask."""
        return len(self.inputs) < len(self.leaves)

    @property
    def arrays(self) -> list[tuple[Any, ...]]:
        """What the leaves hold, whatever they are read as."""
        return [(x.name, x.path, x.shape, x.dtype, x.sizes, x.starts) for x in self.leaves]

    def flatten(self, obs: Any) -> Obs:
        """Flatten an env's observation, single or batched, without checks."""
        return {leaf.name: np.require(leaf.get(obs), leaf.dtype, "C") for leaf in self.leaves}

    def read(self, obs: Any) -> Obs:
        """Flatten an observation from an untrusted source, with checks.

        Raises:
            InputError: a leaf is missing, has the wrong shape, or has values outside its dtype or
                space.
        """
        try:
            flat = {leaf.name: leaf.read(obs) for leaf in self.leaves}
        except MissingLeafError as error:
            names = ", ".join(repr(leaf.name) for leaf in self.leaves)
            raise InputError(f"{error}, of {names}") from error
        self.batch_shape(flat)
        return flat

    def nest(self, obs: Obs) -> Any:
        """Nest leaves as the env does: the inverse of `flatten`."""
        tree: dict[str | int, Any] = {}
        for leaf in self.leaves:
            node = tree
            # the path of an observation that is a single array is empty
            *parents, last = ("", *leaf.path)
            for key in parents:
                node = node.setdefault(key, {})
            node[last] = obs[leaf.name]
        return _with_tuples(tree[""])

    def batch_shape(self, obs: Obs) -> tuple[int, ...]:
        """Return the leading (batch) axes, which all leaves must share.

        Raises:
            InputError: an array does not have its leaf's shape, or batch axes differ.
        """
        leading = set[tuple[int, ...]]()
        for leaf in self.leaves:
            shape = obs[leaf.name].shape
            split = len(shape) - len(leaf.shape)
            if split < 0 or shape[split:] != leaf.shape:
                raise InputError(
                    f"observation {leaf.name!r} has shape {shape}; {leaf.shape} is expected, "
                    "after any batch axes"
                )
            leading.add(shape[:split])
        if len(leading) != 1:
            raise InputError(f"the leaves of the observation have different batch axes: {leading}")
        return leading.pop()


def _with_tuples(tree: Any) -> Any:
    """Turn those dicts of a nested dict whose keys are integers into tuples."""
    if not isinstance(tree, dict):
        return tree
    parts: dict[str | int, Any] = {key: _with_tuples(part) for key, part in tree.items()}
    return tuple(parts.values()) if all(isinstance(key, int) for key in parts) else parts


@dataclass(frozen=True)
class ActionSpec:
    """The actions of an env.

    `categorical` is one of n actions, `multi_categorical` one of sizes[k] for each k, `binary` n
    bits, `continuous` a real array within [low, high], which may be infinite.
    """

    kind: Literal["categorical", "multi_categorical", "binary", "continuous"]
    shape: tuple[Size, ...]
    dtype: str
    sizes: tuple[Size, ...] = ()
    starts: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of one action in a rollout: () if categorical, else (A,)."""
        return () if self.kind == "categorical" else (int(np.prod(self.shape)),)

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """Dtype of actions in a rollout."""
        return np.dtype(np.float32 if self.kind == "continuous" else np.int64)

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of continuous actions: low and high, [A] each."""
        return np.array(self.low), np.array(self.high)

    @property
    def infinity(self) -> float:
        """Size from which a bound stands for an infinite one: half the largest float32.

        It is less if the actions' own type is.
        """
        return min(float(np.finfo(kind).max) for kind in (np.float32, self.dtype)) / 2

    @cached_property
    def is_bounded(self) -> np.ndarray:
        """Which continuous actions have two finite bounds, [A] bool."""
        return np.maximum(*np.abs(self.bounds)) < self.infinity

    @cached_property
    def middle_and_half(self) -> tuple[np.ndarray, np.ndarray]:
        """Middle and half range of continuous actions, [A] each; 0 and 1 if not bounded."""
        low, high = (
            np.where(self.is_bounded, bound, otherwise)
            for bound, otherwise in zip(self.bounds, (-1.0, 1.0), strict=True)
        )
        return (low + high) / 2, (high - low) / 2

    @property
    def is_scaled(self) -> bool:
        """Whether a continuous action has another middle than 0, or another half range than 1."""
        if self.kind != "continuous":
            return False
        middle, half = self.middle_and_half
        return bool((middle != 0).any() or (half != 1).any())

    def fully_masked(self, obs: Obs) -> np.ndarray:
        """Return which rows of {leaf: [N, *O]} have a mask that allows no action, [N] bool."""
        if MASK not in obs or not self.sizes:
            return np.zeros(len(next(iter(obs.values()))), dtype=bool)
        firsts = np.cumsum([0, *self.sizes[:-1]])
        allowed = np.logical_or.reduceat(obs[MASK] != 0, firsts, axis=-1)
        return np.logical_not(allowed.all(-1))

    def allows(self, obs: Obs, actions: np.ndarray) -> np.ndarray:
        """Return which stored actions, [N] or [N, A], the mask of their row allows, [N] bool."""
        if MASK not in obs or not self.sizes:
            return np.ones(len(actions), dtype=bool)
        entries = actions.reshape(len(actions), -1) + np.cumsum([0, *self.sizes[:-1]])
        return np.asarray(np.take_along_axis(obs[MASK] != 0, entries, -1).all(-1))

    def to_env(self, actions: np.ndarray) -> np.ndarray:
        """Convert stored actions, [*B] or [*B, A], to actions that the env accepts, [*B, *shape].

        Continuous actions are clipped to the bounds only here: stored actions and their
        log-probabilities are those of the sample. Bounded distributions exceed the bounds only by
        rounding.
        """
        if self.kind == "continuous":
            low, high = self.bounds
            # as np.clip, which takes four times as long for a few numbers
            actions = np.minimum(np.maximum(actions, low), high)
        elif self.kind == "categorical":
            return (actions + self.starts[0]).astype(self.dtype, copy=False)
        elif self.kind == "multi_categorical":
            actions = actions + np.asarray(self.starts)
        return actions.astype(self.dtype).reshape(*actions.shape[:-1], *self.shape)

    def from_env(self, actions: Any) -> np.ndarray:
        """Convert env actions, [B, *shape], to stored actions, [B] or [B, A].

        Continuous actions are clipped to the bounds, as in `to_env`.

        Raises:
            InputError: they have the wrong shape, or are out of range, not numeric or not finite.
        """
        given = np.asarray(actions)
        if given.dtype.kind not in "biuf" or not np.isfinite(given).all():
            raise InputError(f"the actions {actions!r:.100} are not finite numbers")
        if not given.ndim or given.shape[1:] != self.shape:
            raise InputError(
                f"the actions have shape [{', '.join(map(str, given.shape))}]; for B observations "
                f"[{', '.join(['B', *map(str, self.shape)])}] is expected"
            )
        stored = (len(given), *self.stored_shape)
        if self.kind == "continuous":
            return np.clip(given.reshape(stored), *self.bounds).astype(self.stored_dtype)
        codes = given.astype(self.stored_dtype)
        starts = np.reshape(self.starts, self.shape) if self.starts else 0
        sizes = np.reshape(self.sizes, self.shape) if self.sizes else 2
        wrong = (codes != given) | (codes < starts) | (codes >= starts + sizes)
        if wrong.any():
            raise InputError(f"{given[wrong][0]} is not an action of the env")
        return (codes - starts).reshape(stored)


def spaces_to_json(obs: ObsSpec, action: ActionSpec) -> dict[str, Any]:
    """Return both specs as JSON values; bounds are strings, since JSON has no infinity."""
    spaces: dict[str, Any] = {
        "obs": [_without_note(asdict(leaf)) for leaf in obs.leaves],
        "action": asdict(action),
    }
    for side in ("low", "high"):
        spaces["action"][side] = [str(bound) for bound in spaces["action"][side]]
    return spaces


def _without_note(leaf: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in leaf.items() if name != "note"}


def spaces_from_json(spaces: Mapping[str, Any]) -> tuple[ObsSpec, ActionSpec]:
    """Read what `spaces_to_json` returned.

    Raises:
        InputError: a field has the wrong type or is out of range.
        AttributeError, KeyError, TypeError, ValueError: these are not serialized specs.
    """

    def make(kind: type[Part], table: dict[str, Any]) -> Part:
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
        }
        check_fields(kind, fields)
        # raises TypeError if there is no such dtype
        np.dtype(fields["dtype"])
        return kind(**fields)

    action = dict(spaces["action"])
    for side in ("low", "high"):
        action[side] = [float(bound) for bound in action[side]]
    leaves = tuple(make(Leaf, leaf) for leaf in spaces["obs"])
    return ObsSpec(leaves), make(ActionSpec, action)
