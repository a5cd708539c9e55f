"""Distributed on-policy policy gradients: Ray rollout workers, one learner, one readable loop.

The names in `__all__` are the Python API; it mirrors the command line.
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
from distpg.envs.numbering import current_copy
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
    "current_copy",
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
    """Load the newest policy of a run, for inference without Ray.

    Args:
        run: A run directory, or a policy file.
        seed: Random seed of actions sampled with `act(obs, stochastic=True)`.
        encoder: The encoder class, or module:Class, of a run with `--encoder`; loading a policy
            never imports code by itself.

    Returns:
        The policy; call its `act(obs)`.

    Raises:
        InputError: the run has no policy that can be read, or it was trained with another encoder.
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
