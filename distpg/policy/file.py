"""A policy on disk: one safetensors file, complete enough to play without the run it came from.

Tensors are the parameters and the normalizer; the header holds, as JSON, the spaces and the
architecture. The bytes are a function of those alone.
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
from distpg.errors import InputError, prefix_errors
from distpg.policy.architecture import Architecture
from distpg.records import Weights
from distpg.spaces import ActionSpec, ObsSpec, spaces_from_json

FORMAT = 1
LARGEST_SEEN = 2**20
"""Numbers of a part of an observation that an encoder of the user's may sum up in fewer."""


@dataclass(frozen=True)
class PolicyFile:
    """What a policy file holds."""

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
    # one key alone: safetensors does not order several
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
        if header["format"] != FORMAT:
            raise InputError(f"{path} has format {header['format']}; this version reads {FORMAT}")
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
        raise InputError(f"{path} is no policy of distpg: {error!r}") from error
    check_finite(path, arrays)
    check_size(path, arrays, obs_spec, action_spec, parts)
    return PolicyFile(weights, obs_spec, action_spec, parts)


def check_size(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    obs_spec: ObsSpec,
    action_spec: ActionSpec,
    parts: Architecture,
) -> None:
    """Refuse a header that describes more than the file holds, before networks are made of it.

    Raises:
        InputError: names the file.
    """
    held = sum(array.size for array in arrays.values())
    own, flat = parts.encoder is not None, any(leaf.kind != "image" for leaf in obs_spec.leaves)
    # over images alone there are no hidden layers, and a class of the user's may have others
    sizes = parts.hidden_sizes if flat and not own else ()
    layers = sum(inputs * outputs for inputs, outputs in pairwise(sizes))
    widths = [
        sum(space.sizes) or math.prod(space.shape) for space in (*obs_spec.leaves, action_spec)
    ]
    if max(layers, *widths) > (max(held, LARGEST_SEEN) if own else held):
        raise InputError(f"{path} differs: its header describes more than its {held} numbers")


def check_finite(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays read from a file that hold what is no number.

    Raises:
        InputError: names the file and the array.
    """
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name} holds values that are not finite")
