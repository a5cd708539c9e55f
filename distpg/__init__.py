"""Distributed on-policy policy gradients: Ray rollout workers, one learner, one readable loop.

The names in `__all__` are the Python API; it mirrors the command line.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from distpg.commands.evaluate import evaluate
from distpg.commands.export import Exported, export
from distpg.commands.imitate import imitate
from distpg.commands.push import push
from distpg.commands.resume import resume
from distpg.commands.train import train, train_seeds
from distpg.config.config import Config
from distpg.config.files import load_config
from distpg.config.names import Importable
from distpg.envs.numbering import current_copy
from distpg.errors import InputError, RunError
from distpg.iteration import Iteration, Response
from distpg.report.loggers import MLflowLogger, OptunaPruner, WandbLogger
from distpg.report.stopping import StopAfter, StopAtEvaluation, StopOnPlateau
from distpg.report.watcher import RunStart, Watcher
from distpg.run.directory import RunDir
from distpg.run.execute import Interrupted, Outcome

if TYPE_CHECKING:
    from distpg.policy.play import SavedPolicy

__all__ = [
    "Config",
    "Exported",
    "InputError",
    "Interrupted",
    "Iteration",
    "MLflowLogger",
    "OptunaPruner",
    "Outcome",
    "Response",
    "RunError",
    "RunStart",
    "StopAfter",
    "StopAtEvaluation",
    "StopOnPlateau",
    "WandbLogger",
    "Watcher",
    "current_copy",
    "evaluate",
    "export",
    "imitate",
    "load_config",
    "load_policy",
    "push",
    "resume",
    "train",
    "train_seeds",
]


def load_policy(
    run: Path | str, *, seed: int = 0, encoder: Importable | None = None
) -> "SavedPolicy":
    """Load a policy of a run, for inference without Ray.

    Args:
        run: A run directory, whose newest policy is loaded; RUN@best, RUN@latest or RUN@ENV_STEPS,
            one of its checkpoints; a policy file; or hf://OWNER/NAME[/FILE], a policy file on the
            Hugging Face Hub, by default policy.safetensors.
        seed: Random seed of actions sampled with `act(obs, stochastic=True)`.
        encoder: The encoder class, or module:Class, of a run with an encoder of its own; loading a
            policy never imports code by itself.

    Returns:
        The policy; call its `act(obs)`.

    Raises:
        InputError: the run has no policy that can be read, or it was trained with another encoder.
    """
    from distpg.hub.repository import PREFIX, fetch
    from distpg.policy.file import read_policy
    from distpg.policy.play import SavedPolicy
    from distpg.run.loading import load_policy_file, split_reference

    if str(run).startswith(PREFIX):
        return SavedPolicy(read_policy(fetch(str(run))), seed, encoder=encoder)
    path, which = split_reference(str(run))
    if path.is_file():
        return SavedPolicy(read_policy(path), seed, encoder=encoder)
    file, problems = load_policy_file(RunDir.open(path), which)
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    return SavedPolicy(file, seed, encoder=encoder)
