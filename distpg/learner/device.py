"""Device and number of threads of the learner."""

from typing import Literal

import torch

from distpg.doctor.facts import cores
from distpg.errors import InputError
from distpg.spaces import ObsSpec


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Resolve auto to a GPU if torch sees one.

    Raises:
        InputError: cuda is requested and torch sees none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"--device: cuda, but torch {torch.__version__} sees no GPU on the learner's machine; "
            "use --device cpu or install a CUDA build of torch there"
        )
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


LARGE = 2048
"""Samples of a minibatch from which on a second thread speeds up a small network."""


def default_threads(obs_spec: ObsSpec, minibatch_size: int | None) -> int:
    """Return all usable cores for images; for small networks 2 if minibatches are large, else 1."""
    if any(leaf.kind == "image" for leaf in obs_spec.leaves):
        return cores()
    return min(2, cores()) if (minibatch_size or 0) >= LARGE else 1
