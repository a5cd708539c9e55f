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


def default_threads(obs_spec: ObsSpec) -> int:
    """Return all usable cores for images, and 1 for small networks, which more do not speed up."""
    images = any(leaf.kind == "image" for leaf in obs_spec.leaves)
    return cores() if images else 1
