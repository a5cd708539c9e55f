"""Checkpoints: everything needed to resume a run, as safetensors and JSON.

A checkpoint is a folder, CHECKPOINTS/STEP, written under a temporary name and renamed when
complete; then the symlink `latest` is moved to it, and old checkpoints are removed. Its manifest
lists the size and SHA-256 of the other files; a checkpoint that does not match them is not used.
"""

import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import safetensors
import safetensors.numpy

from distpg.config.values import Range, describe_mismatch
from distpg.errors import FormatError, InputError, prefix_errors
from distpg.policy.file import check_arrays_finite, read_policy
from distpg.progress import Progress
from distpg.records import LearnerState
from distpg.rollout.attributes import EnvAttributes
from distpg.rollout.slot_state import SlotState, slots_from_bytes
from distpg.run.directory import RunDir
from distpg.spaces import spaces_to_json

FORMAT = 7
"""Format of checkpoints; `policy/file.py` has that of policy files."""
READABLE = (6, FORMAT)
"""Format 6 has a list of at most one candidate."""
MANIFEST = "manifest.json"
POLICY, LEARNER, SLOTS = "policy.safetensors", "learner.safetensors", "slots.safetensors"
FILES = (POLICY, LEARNER, SLOTS)
MALFORMED = (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""Exceptions that reading an untrusted manifest may raise."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two iterations."""

    learner: LearnerState
    progress: Progress
    slots: Sequence[SlotState | None] = ()
    """The state of each slot, None if its environment does not expose it."""
    best_return: float | None = None
    """Mean evaluation return of its policy, if it was the best so far."""
    watchers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """States of watchers, by name."""
    attributes: Mapping[str, Any] = field(default_factory=lambda: EnvAttributes().to_json(0))
    """What watchers set in the environments, as `EnvAttributes.to_json` returns it."""
    candidate: "Candidate | None" = None
    """The policy whose evaluation is under way, if one is."""
    evaluation_asked: bool = False
    """Whether a watcher asked for an evaluation of this policy."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What was left out when it was loaded."""
    folder: Path = field(default=Path(), compare=False)
    """The folder that it was loaded from."""
    origin: str = field(default="", compare=False)
    """The folder and the version of distpg that wrote it, for messages."""


@dataclass(frozen=True)
class Candidate:
    """A policy whose evaluation is under way, and which may turn out to be the best."""

    iteration: int
    """The iteration after which it is evaluated."""
    checkpoint: Checkpoint
    attributes: Mapping[str, Any]
    """What is set in the environments of its evaluation."""

    def to_json(self) -> dict[str, Any]:
        """Return what `read_candidate` reads: its own checkpoint is in another folder."""
        return {
            "iteration": self.iteration,
            "env_steps": self.checkpoint.progress.env_steps,
            "attributes": dict(self.attributes),
        }


def folder_of(run: RunDir, checkpoint: Checkpoint) -> Path:
    """Return the folder of a checkpoint, named by its env steps."""
    return run.checkpoints / f"{checkpoint.progress.env_steps:012d}"


def list_checkpoints(run: RunDir) -> list[Path]:
    """Return the folders of all complete checkpoints, oldest first."""
    if not run.checkpoints.is_dir():
        return []
    return sorted(path for path in run.checkpoints.iterdir() if path.name.isdecimal())


def load_checkpoint(folder: Path, *, to_resume: bool = False) -> Checkpoint:
    """Load a checkpoint and verify it against its manifest.

    Args:
        folder: Its folder.
        to_resume: Load the candidate, too, whose evaluation a resumed run plays again.

    Raises:
        InputError: a file is missing or damaged.
        FormatError: the format is another one.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        version = manifest.get("version", "of unknown version")
        # the key was another up to format 3
        number = manifest["schema" if "schema" in manifest else "format"]
        if number not in READABLE:
            raise FormatError(
                f"{folder} was written by distpg {version} in checkpoint format {number}; "
                f"this version reads format {' and '.join(map(str, READABLE))}"
            )
        contents = read_files(folder, manifest["files"])
        policy = read_policy(folder / POLICY)
        learner = LearnerState(
            policy=policy.weights,
            arrays=safetensors.numpy.load(contents[LEARNER]),
            counters=check_counters(manifest["counters"]),
            spaces=spaces_to_json(policy.obs_spec, policy.action_spec),
        )
        check_arrays_finite(folder / LEARNER, learner.arrays)
        slots = read_slots(folder / SLOTS, contents[SLOTS]) if SLOTS in contents else ()
        origin = f"{folder}, written by distpg {version}"
        with prefix_errors(str(folder / MANIFEST)):
            progress = Progress.from_json(manifest["progress"])
            best_return = manifest["best_return"]
            if describe_mismatch(best_return, float | None):
                raise InputError(f"best_return is {best_return!r}, which is not a number")
            watchers = {str(name): dict(state) for name, state in manifest["watchers"].items()}
            attributes = EnvAttributes.from_json(manifest["attributes"])
            asked = manifest["evaluation_asked"]
            if not isinstance(asked, bool):
                raise InputError(f"evaluation_asked is {asked!r:.30}")
        checkpoint = Checkpoint(
            learner,
            progress,
            slots,
            best_return,
            watchers,
            attributes.to_json(progress.iteration),
            evaluation_asked=asked,
            folder=folder,
            origin=origin,
        )
        return with_candidate(checkpoint, manifest) if to_resume else checkpoint
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"cannot read the checkpoint {folder}: {error}") from error
    except MALFORMED as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / MANIFEST} is not a distpg manifest: {error!r}") from error


def with_candidate(checkpoint: Checkpoint, manifest: Mapping[str, Any]) -> Checkpoint:
    """Return a checkpoint with its candidate, or with a warning if that is damaged."""
    values = candidate_values(manifest)
    if values is None:
        return checkpoint
    try:
        return replace(checkpoint, candidate=read_candidate(values, checkpoint))
    except InputError as error:
        warning = f"an evaluation that was under way is left out: {error}"
        return replace(checkpoint, warnings=(warning,))


def candidate_values(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a manifest says of the candidate, if there is one."""
    if manifest["format"] == FORMAT:
        return manifest["candidate"]
    return next(iter(manifest["candidates"]), None)


def read_candidate(values: Mapping[str, Any], later: Checkpoint) -> Candidate:
    """Load a candidate that a later checkpoint needs.

    Raises:
        InputError: it is damaged.
        AttributeError, KeyError, TypeError, ValueError: these are no values of a candidate.
    """
    iteration, env_steps = int(values["iteration"]), int(values["env_steps"])
    attributes = {str(name): value for name, value in values["attributes"].items()}
    if env_steps == later.progress.env_steps:
        # the updates since were rolled back, so it has the same policy
        return Candidate(iteration, later, attributes)
    folder = later.folder.with_name(f"{env_steps:012d}")
    return Candidate(iteration, load_checkpoint(folder), attributes)


def read_files(folder: Path, files: Mapping[str, Any]) -> dict[str, bytes]:
    """Read and verify the files that a checkpoint's manifest lists.

    Raises:
        InputError: a file is missing, unknown, not a regular file, or does not match its size or
            checksum.
    """
    contents: dict[str, bytes] = {}
    unknown = files.keys() - set(FILES)
    if unknown:
        raise InputError(
            f"{folder / MANIFEST} lists {min(unknown)!r}, which is not a file of a checkpoint"
        )
    for name in (POLICY, LEARNER, *(files.keys() & {SLOTS})):
        path, expected = folder / name, files[name]
        info = path.lstat()
        if not stat.S_ISREG(info.st_mode):
            kind = "a symlink" if stat.S_ISLNK(info.st_mode) else "not a regular file"
            raise InputError(f"{path} is {kind}; a checkpoint has only regular files")
        if info.st_size != expected["bytes"]:
            raise InputError(
                f"{path} is damaged: it has {info.st_size} bytes, {expected['bytes']!r:.20} are "
                "expected"
            )
        contents[name] = path.read_bytes()
        if hashlib.sha256(contents[name]).hexdigest() != expected["sha256"]:
            raise InputError(f"{path} is damaged: its checksum does not match")
    return contents


def check_counters(counters: Any) -> dict[str, int]:
    """Return the learner's counters after checking that they are non-negative integers.

    Raises:
        ValueError, AttributeError: they are not.
    """
    for name, count in counters.items():
        if describe_mismatch(count, Annotated[int, Range(0, 2**63)]):
            raise ValueError(f"{name} is {count!r:.30}")
    return dict(counters)


def read_slots(path: Path, content: bytes) -> list[SlotState]:
    """Deserialize the slot states.

    Raises:
        InputError: the content is malformed; the message names the file.
    """
    try:
        return slots_from_bytes(content)
    except (safetensors.SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not contain slot states: {error!r}") from error
