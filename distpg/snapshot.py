"""A slot between two rollouts, as a value and as bytes: what a worker process can go on from.

The bytes are those of a safetensors file: arrays under their place in the tree, and the rest of the
tree as JSON in its header.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import safetensors.numpy

from distpg.envs.state import EnvState

ARRAY = "$array"
"""Key of what stands in the JSON for an array: its name in the file."""


@dataclass(frozen=True)
class SlotState:
    """A slot between two rollouts; its random streams are functions of the key."""

    incarnation: int
    """How often the slot was started with fresh envs before."""
    obs: Mapping[str, np.ndarray]
    over: np.ndarray
    """[N] bool: the next step resets this env."""
    score: np.ndarray
    """[N] float64 rewards so far in the episode under way."""
    length: np.ndarray
    """[N] int64 steps so far."""
    envs: EnvState


def slots_to_bytes(slots: Sequence[SlotState]) -> bytes:
    """Write the states of all slots, in slot order."""
    arrays: dict[str, np.ndarray] = {}

    def take_out(value: Any, place: str) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            arrays[place] = np.ascontiguousarray(value)
            return {ARRAY: place, "shape": list(value.shape)}
        if isinstance(value, Mapping):
            items = cast("Mapping[str, Any]", value).items()
            return {key: take_out(part, f"{place}/{key}") for key, part in items}
        if isinstance(value, list | tuple):
            parts = enumerate(cast("Sequence[Any]", value))
            return [take_out(part, f"{place}/{number}") for number, part in parts]
        return value

    tree = [
        take_out({**vars(slot), "envs": slot.envs.copies}, str(number))
        for number, slot in enumerate(slots)
    ]
    return safetensors.numpy.save(arrays, {"slots": json.dumps(tree)})


def slots_from_bytes(content: bytes) -> list[SlotState]:
    """Read back what `slots_to_bytes` wrote.

    Raises:
        SafetensorError, KeyError, TypeError, ValueError: it is something else.
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
