"""Distributed on-policy policy gradients: Ray rollout workers, one learner, one loop to read.

The names below are the Python API; they do what the command line does.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from distpg.commands.evaluate import evaluate
from distpg.commands.imitate import imitate
from distpg.commands.resume import resume
from distpg.commands.train import train
from distpg.config.config import Config
from distpg.config.files import load_config
from distpg.errors import InputError, RunError
from distpg.run.directory import RunDir
from distpg.run.execute import Outcome

if TYPE_CHECKING:
    from torch import nn

    from distpg.policy.play import SavedPolicy

__all__ = [
    "Config",
    "InputError",
    "Outcome",
    "RunError",
    "evaluate",
    "imitate",
    "load_config",
    "load_policy",
    "resume",
    "train",
]


def load_policy(
    run: Path | str, *, seed: int = 0, encoder: "type[nn.Module] | str | None" = None
) -> "SavedPolicy":
    """Load a run's policy, to play without Ray.

    Args:
        run: The run directory, or a policy file.
        seed: Of the actions that are drawn with `act(obs, stochastic=True)`.
        encoder: The class, or module:Class, of a run with `--encoder`: loading imports none by
            itself.

    Raises:
        InputError: there is no policy, it cannot be read, or it has another encoder.
    """
    from distpg.policy.file import read_policy
    from distpg.policy.play import SavedPolicy
    from distpg.run.loading import load_policy_file

    path = Path(run)
    if path.is_file():
        return SavedPolicy(read_policy(path), seed, encoder=encoder)
    file, problems = load_policy_file(RunDir.open(path))
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    return SavedPolicy(file, seed, encoder=encoder)
