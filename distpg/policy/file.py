"""Policy files: one safetensors file, sufficient to act without the run it came from.

Tensors are the parameters and the normalizer; the header holds spaces and architecture as JSON. The
bytes are a function of these only.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from distpg.config.values import check_value
from distpg.errors import FormatError, InputError, prefix_errors
from distpg.policy.architecture import Architecture
from distpg.records import Weights
from distpg.spaces import ActionSpec, ObsSpec, spaces_from_json

FORMAT = 2
"""Leaves say how they are read; those of format 1 were read as the defaults of `Leaf` say."""
READABLE = (1, FORMAT)
LARGEST_SEEN = 2**20
"""Size of an observation that a user-defined encoder may reduce to fewer parameters."""


@dataclass(frozen=True)
class PolicyFile:
    """The content of a policy file."""

    weights: Weights
    obs_spec: ObsSpec
    action_spec: ActionSpec
    architecture: Architecture


def policy_bytes(weights: Weights, spaces: Mapping[str, Any], parts: Architecture) -> bytes:
    """Write a policy as the bytes of a safetensors file."""
    header = {
        "format": FORMAT,
        "policy_version": weights.version,
        "architecture": asdict(parts),
        "spaces": spaces,
    }
    # a single key: safetensors does not order several
    metadata = {"distpg": json.dumps(header, sort_keys=True)}
    return safetensors.numpy.save(dict(weights.arrays), metadata)


def read_policy(path: Path) -> PolicyFile:
    """Read a policy file.

    Raises:
        InputError: the file cannot be read, or is not a policy of this format.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata: dict[str, str] = file.metadata() or {}
            arrays: dict[str, np.ndarray] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(metadata["distpg"])
        if header["format"] not in READABLE:
            raise FormatError(
                f"{path} is a policy file of format {header['format']}, of another distpg version; "
                f"this one reads format {' and '.join(map(str, READABLE))}"
            )
        with prefix_errors(str(path)):
            obs_spec, action_spec = spaces_from_json(header["spaces"])
            parts = Architecture.from_json(header["architecture"])
            check_value("policy_version", header["policy_version"], int)
        weights = Weights(header["policy_version"], arrays)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"cannot read the policy {path}: {error}") from error
    except InputError:
        raise
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a distpg policy file: {error!r}") from error
    check_arrays_finite(path, arrays)
    check_size(path, arrays, obs_spec, action_spec, parts)
    return PolicyFile(weights, obs_spec, action_spec, parts)


def check_size(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    obs_spec: ObsSpec,
    action_spec: ActionSpec,
    parts: Architecture,
) -> None:
    """Refuse a header that describes more than the file holds, before networks are made from it.

    Raises:
        InputError: names the file.
    """
    held = sum(array.size for array in arrays.values())
    own, flat = parts.encoder is not None, any(leaf.kind != "image" for leaf in obs_spec.leaves)
    # images only have no hidden layers, and a user-defined encoder may have others
    sizes = parts.hidden_sizes if flat and not own else ()
    layers = sum(inputs * outputs for inputs, outputs in pairwise(sizes))
    if parts.recurrent != "none":
        layers += parts.recurrent_layers * parts.recurrent_size**2
    widths = [
        sum(space.sizes) or math.prod(space.shape) for space in (*obs_spec.leaves, action_spec)
    ]
    if max(layers, *widths) > (max(held, LARGEST_SEEN) if own else held):
        raise InputError(f"{path} differs: its header describes more than its {held} numbers")


def check_arrays_finite(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays of a file that hold NaN or inf.

    Raises:
        InputError: names the file and the array.
    """
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name} holds values that are not finite")
