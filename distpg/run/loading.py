"""Find and load checkpoints and policies of runs."""

import os
from pathlib import Path

from distpg.config.config import Config
from distpg.config.values import flag
from distpg.errors import InputError, prefix_errors
from distpg.policy.action_units import BOUNDED
from distpg.policy.architecture import Architecture
from distpg.policy.file import PolicyFile, read_policy
from distpg.records import LearnerState
from distpg.run.checkpoint import POLICY, Checkpoint, list_checkpoints, load_checkpoint
from distpg.run.directory import RunDir
from distpg.spaces import spaces_from_json, spaces_to_json


def load_newest(run: RunDir, *, to_resume: bool = False) -> tuple[Checkpoint, list[str]]:
    """Load the newest intact checkpoint of a run; `to_resume` as for `load_checkpoint`.

    Returns:
        The checkpoint, and a warning for each newer one that is damaged.

    Raises:
        InputError: there is none, or all are damaged.
    """
    errors: list[InputError] = []
    for folder in reversed(list_checkpoints(run)):
        try:
            checkpoint = load_checkpoint(folder, to_resume=to_resume)
        except InputError as error:
            errors.append(error)
        else:
            return checkpoint, [*(f"skipped: {error}" for error in errors), *checkpoint.warnings]
    if errors:
        raise InputError(f"{run.given} has no intact checkpoint; the newest: {errors[0]}")
    raise InputError(f"{run.given} has no checkpoint to resume from")


def load_init_from(config: Config) -> tuple[LearnerState | None, list[str]]:
    """Load the networks that `--init-from` names: of a run, of RUN@CHECKPOINT, or a policy file.

    Returns:
        The networks, or None without `--init-from`; and warnings, as from `load_newest`.

    Raises:
        InputError: there are none, they are damaged, or they were trained with other settings.
    """
    if config.init_from is None:
        return None, []
    with prefix_errors("--init-from"):
        path, which = split_reference(config.init_from)
        if path.is_file():
            file = read_policy(path)
            check_meaning(config.init_from, networks_of(file), file.architecture, config)
            return networks_of(file), []
        run = RunDir.open(path)
        networks, warnings = load_networks(run, which)
        check_meaning(str(run.given), networks, run.read_config(), config)
    return networks, warnings


def split_reference(text: str) -> tuple[Path, str | None]:
    """Split RUN@CHECKPOINT; a path that exists is taken as it is."""
    run, at, which = text.rpartition("@")
    if not at or os.path.exists(text):  # noqa: PTH110 (False if the name is too long)
        return Path(text), None
    return Path(run), which


def find_checkpoint(run: RunDir, which: str) -> Path:
    """Return the folder of a checkpoint: best, latest, or by its env steps.

    Raises:
        InputError: there is none.
    """
    folders = list_checkpoints(run)
    if which in ("best", "latest"):
        folder = (run.checkpoints / which).resolve()
        if folder in [known.resolve() for known in folders]:
            return folder
        why = "; evaluations choose it, see --eval-every" if which == "best" else ""
        raise InputError(f"{run.given} has no {which} checkpoint{why}")
    steps = {int(folder.name): folder for folder in folders}
    if which.isdecimal() and int(which) in steps:
        return steps[int(which)]
    known = ", ".join(map(str, steps)) or "none"
    raise InputError(
        f"{which!r} is no checkpoint of {run.given}; give best, latest, or the env steps of one "
        f"that is kept ({known})"
    )


def check_meaning(
    name: str, networks: LearnerState, theirs: Config | Architecture, config: Config
) -> None:
    """Refuse networks whose outputs mean something else under settings that leave their shapes.

    Args:
        name: Where they come from.
        networks: What is to be continued.
        theirs: What they were trained with.
        config: What they are to be trained with.

    Raises:
        InputError: names the setting.
    """
    obs, actions = spaces_from_json(dict(networks.spaces))
    settings = {
        "activation": bool(config.hidden_sizes) and config.encoder is None,
        "action_distribution": actions.kind == "continuous",
        "action_scale": config.action_distribution not in BOUNDED and actions.is_scaled,
        "clip_obs": config.normalize_obs and any(leaf.kind == "vector" for leaf in obs.leaves),
    }
    for setting, matters in settings.items():
        trained, given = getattr(theirs, setting), getattr(config, setting)
        if matters and trained != given:
            raise InputError(
                f"the networks of {name} were trained with {flag(setting)} {trained}, not "
                f"{given}; use {flag(setting)} {trained}"
            )


def load_networks(run: RunDir, which: str | None = None) -> tuple[LearnerState, list[str]]:
    """Load the networks of a checkpoint, by default the newest; or the policy if there is none.

    Raises:
        InputError: the run has neither, or they are damaged.
    """
    if which is not None:
        return load_checkpoint(find_checkpoint(run, which)).learner, []
    if list_checkpoints(run):
        checkpoint, warnings = load_newest(run)
        return checkpoint.learner, warnings
    if not run.policy.is_file():
        raise InputError(f"{run.given} has neither a checkpoint nor a policy to start from")
    return networks_of(read_policy(run.policy)), []


def networks_of(policy: PolicyFile) -> LearnerState:
    """Return what a learner starts from that has the policy alone."""
    spaces = spaces_to_json(policy.obs_spec, policy.action_spec)
    return LearnerState(policy.weights, arrays={}, counters={}, spaces=spaces)


def load_policy_file(run: RunDir, which: str | None = None) -> tuple[PolicyFile, list[str]]:
    """Load a policy of a run: by default the newest, final or of a checkpoint.

    Args:
        run: The run.
        which: As for `find_checkpoint`, or the path of a policy file or of a checkpoint.

    Returns:
        The policy, and warnings, as from `load_newest`.

    Raises:
        InputError: the run has no such policy, or all are damaged.
    """
    if which is not None:
        path = Path(which)
        named = which in ("", "best", "latest") or which.isdecimal()
        if named or not os.path.exists(path):  # noqa: PTH110 (False if the name is too long)
            path = load_checkpoint(find_checkpoint(run, which)).folder
        return read_policy(path / POLICY if path.is_dir() else path), []
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
