"""Checkpoints: everything needed to resume a run, as safetensors and JSON.

A checkpoint is a folder, CHECKPOINTS/STEP, written under a temporary name and renamed when
complete; then the symlink `latest` is moved to it, and old checkpoints are removed. Its manifest
lists the size and SHA-256 of the other files; a checkpoint that does not match them is not used.
"""

import hashlib
import json
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import safetensors
import safetensors.numpy

from distpg.config.config import Config
from distpg.config.values import Range, describe_mismatch
from distpg.errors import InputError, prefix_errors
from distpg.policy.architecture import Architecture
from distpg.policy.file import check_arrays_finite, policy_bytes, read_policy
from distpg.progress import Progress
from distpg.records import LearnerState
from distpg.rollout.attributes import EnvAttributes
from distpg.rollout.slot_state import SlotState, slots_from_bytes, slots_to_bytes
from distpg.run.directory import RunDir, fsync_directory, remove, write_atomically
from distpg.spaces import spaces_to_json

FORMAT = 5
"""Format of checkpoints; `policy/file.py` has that of policy files."""
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
    folder: Path = field(default=Path(), compare=False)
    """The folder that it was loaded from."""
    origin: str = field(default="", compare=False)
    """The folder and the version of distpg that wrote it, for messages."""


def save_checkpoint(run: RunDir, checkpoint: Checkpoint, config: Config) -> None:
    """Write a checkpoint, then remove the oldest beyond `keep_checkpoints`, except the best."""
    target = run.checkpoints / f"{checkpoint.progress.env_steps:012d}"
    partial = target.with_name(target.name + ".tmp")
    # left by a process that was killed; the lock excludes other writers
    for leftover in run.checkpoints.glob("*.tmp"):
        remove(leftover)
    partial.mkdir(parents=True)
    if not run.config.exists():
        # the run directory was deleted during the run
        run.write_config(config)
    learner = checkpoint.learner
    files = {
        POLICY: policy_bytes(learner.policy, learner.spaces, Architecture.of(config)),
        LEARNER: safetensors.numpy.save(dict(learner.arrays)),
    }
    slots = [slot for slot in checkpoint.slots if slot is not None]
    if slots and len(slots) == len(checkpoint.slots):
        files[SLOTS] = slots_to_bytes(slots)
    for name, content in files.items():
        write_atomically(partial / name, content)
    manifest = {
        "format": FORMAT,
        "best_return": checkpoint.best_return,
        "version": metadata.version("distpg"),
        "counters": dict(learner.counters),
        "progress": checkpoint.progress.to_json(),
        "watchers": dict(checkpoint.watchers),
        "attributes": dict(checkpoint.attributes),
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
    }
    write_atomically(partial / MANIFEST, json.dumps(manifest, indent=2).encode())
    fsync_directory(partial)
    if target.exists():
        # it has the same env steps if the updates since were rolled back
        target.rename(target.with_name(target.name + ".old.tmp"))
    partial.rename(target)
    remove(target.with_name(target.name + ".old.tmp"))
    move_link(run, "latest", target)
    if checkpoint.best_return is not None:
        move_link(run, "best", target)
    best = (run.checkpoints / "best").resolve()
    # newer ones are damaged: they were skipped when the run was resumed
    older = [folder for folder in list_checkpoints(run) if folder < target]
    for stale in older[: max(0, len(older) + 1 - config.keep_checkpoints)]:
        if stale.resolve() != best:
            shutil.rmtree(stale)


def move_link(run: RunDir, name: str, target: Path) -> None:
    """Make the symlink `latest` or `best` point to a checkpoint."""
    link, temporary = run.checkpoints / name, run.checkpoints / f"{name}.tmp"
    remove(temporary)
    temporary.symlink_to(target.name)
    if not link.is_symlink():
        # a copy of the run may have a folder here, because symlinks were followed
        remove(link)
    temporary.rename(link)
    fsync_directory(run.checkpoints)


def list_checkpoints(run: RunDir) -> list[Path]:
    """Return the folders of all complete checkpoints, oldest first."""
    if not run.checkpoints.is_dir():
        return []
    return sorted(path for path in run.checkpoints.iterdir() if path.name.isdecimal())


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load a checkpoint and verify it against its manifest.

    Raises:
        InputError: a file is missing or damaged, or the format is another one.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        version = manifest.get("version", "of unknown version")
        # the key was another up to format 3
        number = manifest["schema" if "schema" in manifest else "format"]
        if number != FORMAT:
            raise InputError(
                f"{folder} was written by distpg {version} in checkpoint format {number}; "
                f"this version reads format {FORMAT}"
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
        kept = attributes.to_json(progress.iteration)
        return Checkpoint(
            learner, progress, slots, best_return, watchers, kept, folder=folder, origin=origin
        )
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"cannot read the checkpoint {folder}: {error}") from error
    except MALFORMED as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / MANIFEST} is not a distpg manifest: {error!r}") from error


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
