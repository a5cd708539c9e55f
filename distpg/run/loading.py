"""Which checkpoint or policy of a run is loaded: the newest that is intact."""

from pathlib import Path

from distpg.config.config import Config
from distpg.errors import InputError, prefix_errors
from distpg.policy.file import PolicyFile, read_policy
from distpg.records import LearnerState
from distpg.run.checkpoint import POLICY, Checkpoint, list_checkpoints, load_checkpoint
from distpg.run.directory import RunDir
from distpg.spaces import spaces_to_json


def load_newest(run: RunDir) -> tuple[Checkpoint, list[str]]:
    """Load the newest checkpoint of a run that is whole.

    Returns:
        The checkpoint, and of each newer one what is wrong with it.

    Raises:
        InputError: there is none, or all are damaged.
    """
    found = list_checkpoints(run)
    if not found:
        raise InputError(f"{run.path} has no checkpoint to go on from")
    problems: list[str] = []
    for folder in reversed(found):
        try:
            checkpoint = load_checkpoint(folder)
        except InputError as error:
            problems.append(str(error))
        else:
            passed_over = [f"passed over: {problem}" for problem in problems]
            return checkpoint, passed_over
    raise InputError(f"{run.path} has no checkpoint that is whole; the newest: {problems[0]}")


def load_init_from(config: Config) -> tuple[LearnerState | None, list[str]]:
    """Load the networks that `--init-from` names, if any.

    Returns:
        They, and what is wrong with newer ones.

    Raises:
        InputError: there are none, or they are damaged.
    """
    if config.init_from is None:
        return None, []
    with prefix_errors("--init-from"):
        return load_networks(RunDir.open(Path(config.init_from)))


def load_networks(run: RunDir) -> tuple[LearnerState, list[str]]:
    """Load those of a run's newest checkpoint, else of its final policy alone."""
    if list_checkpoints(run):
        checkpoint, problems = load_newest(run)
        return checkpoint.learner, problems
    if not run.policy.is_file():
        raise InputError(f"{run.path} has neither a checkpoint nor a policy to start from")
    policy = read_policy(run.policy)
    spaces = spaces_to_json(policy.obs_spec, policy.action_spec)
    return LearnerState(policy.weights, arrays={}, counters={}, spaces=spaces), []


def load_policy_file(run: RunDir) -> tuple[PolicyFile, list[str]]:
    """Load a run's newest policy: where it ended, or of a checkpoint if it went on since.

    Returns:
        It, and what is wrong with newer ones.

    Raises:
        InputError: it has none yet, or they are damaged.
    """
    files = [read_policy(run.policy)] if run.policy.is_file() else []
    problems: list[str] = []
    if list_checkpoints(run):
        try:
            checkpoint, problems = load_newest(run)
            files.append(read_policy(checkpoint.folder / POLICY))
        except InputError as error:
            if not files:
                raise
            problems = [str(error)]
    if not files:
        raise InputError(f"{run.path} has no policy yet: no checkpoint was written")
    return max(files, key=lambda policy: policy.weights.version), problems
