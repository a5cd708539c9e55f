"""What an observation and an action look like, as plain values that need no gymnasium.

An observation is always a dict of leaves, whatever the env's own nesting. `envs/describe.py` makes
these from an environment's spaces; the networks are built from them; a saved policy carries them.
"""

from dataclasses import asdict, dataclass
from functools import cached_property, reduce
from typing import Annotated, Any, Literal, TypeVar

import numpy as np

from distpg.config.values import Range, check_fields
from distpg.errors import InputError

Size = Annotated[int, Range(1)]
Part = TypeVar("Part", "Leaf", "ActionSpec")
Obs = dict[str, np.ndarray]
MASK = "action_mask"
"""Name of the leaf that says which actions are allowed."""


def join_masks(mask: Any) -> Any:
    """Lay the masks of several choices side by side, [n] or [B, n], where they come apart."""
    apart = isinstance(mask, tuple | list) and any(np.ndim(part) for part in mask)
    return np.concatenate([np.asarray(part) for part in mask], -1) if apart else mask


@dataclass(frozen=True)
class Leaf:
    """One array of an observation.

    `path` leads to it through the env's nested dicts and tuples. A `vector` is any real array; an
    `image` is uint8 with three axes, or two; `categories` are whole numbers, entry k of them in
    [starts[k], starts[k] + sizes[k]). A `mask` says of each action whether it is allowed.
    """

    name: str
    path: tuple[str | int, ...]
    shape: tuple[Size, ...]
    dtype: str
    kind: Literal["vector", "image", "categories", "mask"]
    sizes: tuple[Size, ...] = ()
    starts: tuple[int, ...] = ()

    def of(self, obs: Any) -> Any:
        """Follow the path through an env's observation."""
        return reduce(lambda part, key: part[key], self.path, obs)

    def cast(self, part: Any) -> np.ndarray:
        """Turn what may be no array of this leaf's into one.

        Raises:
            InputError: it holds no numbers, or such as the type does not, as 0.5 or 256 in uint8.
        """
        try:
            given = np.asarray(part)
            kept = np.require(given, self.dtype, "C")
        except (OverflowError, TypeError, ValueError) as error:
            raise InputError(f"observation {self.name!r} is {part!r:.60}: {error}") from error
        if kept.dtype.kind != "f" and given.dtype != kept.dtype and (kept != given).any():
            raise InputError(
                f"observation {self.name!r} holds {given[kept != given][0]}, as {given.dtype}; "
                f"{self.dtype} is expected, as the env has it"
            )
        return kept


@dataclass(frozen=True)
class ObsSpec:
    """The leaves of an observation, in a fixed order."""

    leaves: tuple[Leaf, ...]

    @property
    def inputs(self) -> tuple[Leaf, ...]:
        """What the networks see: all but the mask."""
        return tuple(leaf for leaf in self.leaves if leaf.kind != "mask")

    @property
    def is_masked(self) -> bool:
        """Whether the environment says which actions are allowed."""
        return len(self.inputs) < len(self.leaves)

    def flatten(self, obs: Any) -> Obs:
        """Take the leaves out of an env's observation, single or batched."""
        return {leaf.name: np.require(leaf.of(obs), leaf.dtype, "C") for leaf in self.leaves}

    def read(self, obs: Any) -> Obs:
        """Take the leaves out of what may be no observation of the env's.

        Raises:
            InputError: a part is missing, is of another shape, or holds numbers that its type or
                its space does not.
        """
        flat: Obs = {}
        for leaf in self.leaves:
            try:
                part = leaf.of(obs)
            except (IndexError, KeyError, TypeError) as error:
                names = ", ".join(repr(each.name) for each in self.leaves)
                raise InputError(
                    f"{obs!r:.100} is no observation: {leaf.name!r} is missing, of {names}"
                ) from error
            flat[leaf.name] = leaf.cast(part)
        self.batch_shape(flat)
        for leaf in self.leaves:
            if leaf.kind == "categories":
                codes = flat[leaf.name] - np.reshape(leaf.starts, leaf.shape)
                if (codes < 0).any() or (codes >= np.reshape(leaf.sizes, leaf.shape)).any():
                    raise InputError(
                        f"observation {leaf.name!r} is {flat[leaf.name]}, which is out of its range"
                    )
        return flat

    def nest(self, obs: Obs) -> Any:
        """Put leaves back as the env nests them: what `flatten` takes them out of."""
        tree: dict[str | int, Any] = {}
        for leaf in self.leaves:
            node = tree
            # an observation that is one array has the empty path
            *way, last = ("", *leaf.path)
            for key in way:
                node = node.setdefault(key, {})
            node[last] = obs[leaf.name]
        return _with_tuples(tree[""])

    def batch_shape(self, obs: Obs) -> tuple[int, ...]:
        """Return the axes in front of the leaves' own, which all leaves must share.

        Raises:
            InputError: an array is not of its leaf's shape.
        """
        leading = set[tuple[int, ...]]()
        for leaf in self.leaves:
            shape = obs[leaf.name].shape
            split = len(shape) - len(leaf.shape)
            if split < 0 or shape[split:] != leaf.shape:
                raise InputError(
                    f"observation {leaf.name!r} has shape {shape}; {leaf.shape} is expected, "
                    "after any batch axis"
                )
            leading.add(shape[:split])
        if len(leading) != 1:
            raise InputError(f"the observation's parts differ in their batch axes: {leading}")
        return leading.pop()


def _with_tuples(tree: Any) -> Any:
    """Make tuples of those levels of nested dicts that are numbered."""
    if not isinstance(tree, dict):
        return tree
    parts: dict[str | int, Any] = {key: _with_tuples(part) for key, part in tree.items()}
    return tuple(parts.values()) if all(isinstance(key, int) for key in parts) else parts


@dataclass(frozen=True)
class ActionSpec:
    """What an action is.

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
        """Shape of one action in a rollout: () for one choice, else (A,)."""
        return () if self.kind == "categorical" else (int(np.prod(self.shape)),)

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """Type of an action in a rollout."""
        return np.dtype(np.float32 if self.kind == "continuous" else np.int64)

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest continuous actions, [A] each."""
        return np.array(self.low), np.array(self.high)

    def forbidden(self, obs: Obs) -> np.ndarray:
        """Say of each row of {leaf: [N, *O]} whether its mask allows no action, [N] bool."""
        if MASK not in obs or not self.sizes:
            return np.zeros(len(next(iter(obs.values()))), dtype=bool)
        firsts = np.cumsum([0, *self.sizes[:-1]])
        allowed = np.logical_or.reduceat(obs[MASK] != 0, firsts, axis=-1)
        return np.logical_not(allowed.all(-1))

    def allows(self, obs: Obs, actions: np.ndarray) -> np.ndarray:
        """Say of each action as stored, [N] or [N, A], whether its row's mask allows it, [N]."""
        if MASK not in obs or not self.sizes:
            return np.ones(len(actions), dtype=bool)
        places = actions.reshape(len(actions), -1) + np.cumsum([0, *self.sizes[:-1]])
        return np.asarray(np.take_along_axis(obs[MASK] != 0, places, -1).all(-1))

    def to_env(self, actions: np.ndarray) -> np.ndarray:
        """Turn a policy's actions, [*B] or [*B, A], into ones that the env accepts, [*B, *shape].

        Continuous actions are clipped to the bounds here and nowhere else: what is stored, and
        scored by the policy, is the action as sampled. Of those that the policy laid out between
        the bounds, this takes the rounding.
        """
        if self.kind == "continuous":
            actions = np.clip(actions, *self.bounds)
        elif self.kind == "categorical":
            return (actions + self.starts[0]).astype(self.dtype, copy=False)
        elif self.kind == "multi_categorical":
            actions = actions + np.asarray(self.starts)
        return actions.astype(self.dtype).reshape(*actions.shape[:-1], *self.shape)

    def from_env(self, actions: Any) -> np.ndarray:
        """Turn actions that the env accepts, [B, *shape], into what `to_env` takes, [B] or [B, A].

        Continuous ones are cut to the bounds, as `to_env` does.

        Raises:
            InputError: they are of another shape, out of range, or no numbers.
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
            raise InputError(f"{given[wrong][0]} is no action of the env")
        return (codes - starts).reshape(stored)


def spaces_to_json(obs: ObsSpec, action: ActionSpec) -> dict[str, Any]:
    """Write both as JSON values; infinite bounds become the words inf and -inf."""
    described: dict[str, Any] = {
        "obs": [asdict(leaf) for leaf in obs.leaves],
        "action": asdict(action),
    }
    for side in ("low", "high"):
        described["action"][side] = [str(bound) for bound in described["action"][side]]
    return described


def spaces_from_json(described: dict[str, Any]) -> tuple[ObsSpec, ActionSpec]:
    """Read back what `spaces_to_json` wrote.

    Raises:
        InputError: a value is not of its field's kind.
    """

    def made(kind: type[Part], described: dict[str, Any]) -> Part:
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in described.items()
        }
        check_fields(kind, fields)
        np.dtype(fields["dtype"])
        return kind(**fields)

    action = dict(described["action"])
    for side in ("low", "high"):
        action[side] = [float(bound) for bound in action[side]]
    leaves = tuple(made(Leaf, leaf) for leaf in described["obs"])
    return ObsSpec(leaves), made(ActionSpec, action)
