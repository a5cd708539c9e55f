"""The state of a slot between rollouts, in memory and serialized; a worker can be restored from it.

Serialized it is a safetensors file: arrays under their place in the tree, and the rest of the tree
as JSON in its header.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import safetensors.numpy

from distpg.envs.state import EnvState
from distpg.errors import RunError
from distpg.records import Rollout, RolloutStats

ARRAY = "$array"
"""Key of what stands in the JSON for an array: its name in the file."""
DTYPES = frozenset(
    (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64"),
    )
)
"""Types of arrays that a file keeps."""


@dataclass(frozen=True)
class SlotState:
    """A slot between two rollouts; its RNG streams are functions of the key."""

    incarnation: int
    """How often the slot was started with fresh envs before."""
    obs: Mapping[str, np.ndarray]
    needs_reset: np.ndarray
    """[N] bool: the next step resets this env."""
    returns: np.ndarray
    """[N] float64 rewards so far in the current episode."""
    lengths: np.ndarray
    """[N] int64 steps so far."""
    recurrent_state: np.ndarray
    """[N, S] float32."""
    envs: EnvState


class Collected(NamedTuple):
    """What a slot returns for one iteration."""

    rollout: Rollout
    stats: RolloutStats
    state: SlotState | None
    """The slot afterwards; None if the env does not expose its state, or each rollout resets."""


def slots_to_bytes(slots: Sequence[SlotState]) -> bytes:
    """Write the states of all slots, in slot order.

    Raises:
        RunError: an environment's state holds what is neither an array nor a JSON value.
    """
    arrays: dict[str, np.ndarray] = {}

    def take_out(value: Any, place: str) -> Any:
        if isinstance(value, np.ndarray | np.generic) and value.dtype.name in DTYPES:
            arrays[place] = np.ascontiguousarray(value)
            return {ARRAY: place, "shape": list(value.shape)}
        if isinstance(value, Mapping):
            items = cast("Mapping[object, Any]", value).items()
            for key, _ in items:
                if not isinstance(key, str) or key == ARRAY:
                    raise RunError(
                        f"get_state of an environment returns a dict with the key {key!r}"
                    )
            return {key: take_out(part, f"{place}/{key}") for key, part in items}
        if isinstance(value, list | tuple):
            parts = enumerate(cast("Sequence[Any]", value))
            return [take_out(part, f"{place}/{number}") for number, part in parts]
        if value is not None and not isinstance(value, str | int | float):
            kind = getattr(value, "dtype", type(value).__name__)
            raise RunError(
                f"get_state of an environment returns {value!r:.60}, of type {kind}, which is "
                "neither an array nor a JSON value"
            )
        return value

    tree = [
        take_out({**vars(slot), "envs": slot.envs.copies}, str(number))
        for number, slot in enumerate(slots)
    ]
    return safetensors.numpy.save(arrays, {"slots": json.dumps(tree)})


def slots_from_bytes(content: bytes) -> list[SlotState]:
    """Read back what `slots_to_bytes` wrote.

    Raises:
        SafetensorError, KeyError, TypeError, ValueError: the bytes are not a serialized slot state.
    """
    arrays = safetensors.numpy.load(content)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])

    def put_back(value: Any) -> Any:
        if isinstance(value, dict):
            found = cast("dict[str, Any]", value)
            if ARRAY in found:
                return arrays[found[ARRAY]].reshape(found["shape"])
            return {key: put_back(part) for key, part in found.items()}
        if isinstance(value, list):
            return [put_back(part) for part in cast("list[Any]", value)]
        return value

    trees: list[dict[str, Any]] = put_back(json.loads(header["__metadata__"]["slots"]))
    return [SlotState(envs=EnvState(tree.pop("envs")), **tree) for tree in trees]
