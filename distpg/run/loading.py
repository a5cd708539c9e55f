"""Load the newest intact checkpoint or policy of a run."""

from pathlib import Path

from distpg.config.config import Config
from distpg.config.values import flag
from distpg.errors import InputError, prefix_errors
from distpg.policy.file import PolicyFile, read_policy
from distpg.records import LearnerState
from distpg.run.checkpoint import POLICY, Checkpoint, list_checkpoints, load_checkpoint
from distpg.run.directory import RunDir
from distpg.spaces import spaces_from_json, spaces_to_json


def load_newest(run: RunDir) -> tuple[Checkpoint, list[str]]:
    """Load the newest intact checkpoint of a run.

    Returns:
        The checkpoint, and a warning for each newer one that is damaged.

    Raises:
        InputError: there is none, or all are damaged.
    """
    errors: list[InputError] = []
    for folder in reversed(list_checkpoints(run)):
        try:
            return load_checkpoint(folder), [f"skipped: {error}" for error in errors]
        except InputError as error:
            errors.append(error)
    if errors:
        raise InputError(f"{run.given} has no intact checkpoint; the newest: {errors[0]}")
    raise InputError(f"{run.given} has no checkpoint to resume from")


def load_init_from(config: Config) -> tuple[LearnerState | None, list[str]]:
    """Load the networks of the run that `--init-from` names.

    Returns:
        The networks, or None without `--init-from`; and warnings, as from `load_newest`.

    Raises:
        InputError: there are none, or they are damaged.
    """
    if config.init_from is None:
        return None, []
    with prefix_errors("--init-from"):
        run = RunDir.open(Path(config.init_from))
        networks, warnings = load_networks(run)
        check_meaning(run, networks, config)
    return networks, warnings


def check_meaning(run: RunDir, networks: LearnerState, config: Config) -> None:
    """Refuse networks whose outputs mean something else under settings that leave their shapes.

    Raises:
        InputError: names the setting.
    """
    theirs = run.read_config()
    _, actions = spaces_from_json(dict(networks.spaces))
    settings = {
        "activation": bool(config.hidden_sizes) and config.encoder is None,
        "action_distribution": actions.kind == "continuous",
        "action_scale": config.action_distribution == "gaussian" and actions.is_scaled,
    }
    for name, matters in settings.items():
        trained, given = getattr(theirs, name), getattr(config, name)
        if matters and trained != given:
            raise InputError(
                f"the networks of {run.given} were trained with {flag(name)} {trained}, not "
                f"{given}; use {flag(name)} {trained}"
            )


def load_networks(run: RunDir) -> tuple[LearnerState, list[str]]:
    """Load the networks of a run's newest checkpoint, or only the policy if it has none.

    Raises:
        InputError: the run has neither, or they are damaged.
    """
    if list_checkpoints(run):
        checkpoint, warnings = load_newest(run)
        return checkpoint.learner, warnings
    if not run.policy.is_file():
        raise InputError(f"{run.given} has neither a checkpoint nor a policy to start from")
    policy = read_policy(run.policy)
    spaces = spaces_to_json(policy.obs_spec, policy.action_spec)
    return LearnerState(policy.weights, arrays={}, counters={}, spaces=spaces), []


def load_policy_file(run: RunDir) -> tuple[PolicyFile, list[str]]:
    """Load a run's newest policy: the final one, or that of a newer checkpoint.

    Returns:
        The policy, and warnings, as from `load_newest`.

    Raises:
        InputError: the run has no policy yet, or all are damaged.
    """
    files = [read_policy(run.policy)] if run.policy.is_file() else []
    warnings: list[str] = []
    if list_checkpoints(run):
        try:
            checkpoint, warnings = load_newest(run)
            files.append(read_policy(checkpoint.folder / POLICY))
        except InputError as error:
            if not files:
                raise
            warnings = [str(error)]
    if not files:
        raise InputError(f"{run.given} has no policy yet: no checkpoint was written")
    return max(files, key=lambda policy: policy.weights.version), warnings
