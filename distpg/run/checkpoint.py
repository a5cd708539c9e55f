"""Checkpoints: all that a run needs to go on, as safetensors and JSON.

A checkpoint is a folder, CHECKPOINTS/STEP, written under another name and renamed when complete;
then the link `latest` is moved, and old ones are dropped. Its manifest lists sizes and SHA-256 of
the other files; a checkpoint that does not match is not used.
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
from distpg.config.values import Range, misfit
from distpg.errors import InputError, concerning
from distpg.policy.architecture import Architecture
from distpg.policy.file import check_finite, policy_bytes, read_policy
from distpg.progress import Progress
from distpg.records import LearnerState
from distpg.rollout.slot_state import SlotState, slots_from_bytes, slots_to_bytes
from distpg.run.directory import RunDir, sync_folder, write_whole
from distpg.spaces import spaces_to_json

FORMAT = 4
"""Of checkpoints; `policy/file.py` has that of policies."""
MANIFEST = "manifest.json"
POLICY, LEARNER, SLOTS = "policy.safetensors", "learner.safetensors", "slots.safetensors"
MALFORMED = (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""Exceptions that reading a manifest of unknown origin may raise."""
FILES = (POLICY, LEARNER, SLOTS)


@dataclass(frozen=True)
class Checkpoint:
    """A run between two iterations."""

    learner: LearnerState
    progress: Progress
    slots: Sequence[SlotState | None] = ()
    """The state of each slot, None if its environment does not expose it."""
    best_return: float | None = None
    """Mean evaluation return of its policy, if it was the best so far."""
    folder: Path = field(default=Path(), compare=False)
    """Where it was read from."""
    origin: str = field(default="", compare=False)
    """The folder, and what wrote it."""


def save_checkpoint(run: RunDir, checkpoint: Checkpoint, config: Config) -> None:
    """Write a checkpoint, then drop the oldest beyond `keep_checkpoints`, but not the best."""
    target = run.checkpoints / f"{checkpoint.progress.env_steps:012d}"
    partial = target.with_name(target.name + ".tmp")
    # what a process that was killed left half written; no other writes here
    for leftover in run.checkpoints.glob("*.tmp"):
        remove(leftover)
    partial.mkdir(parents=True)
    if not run.config.exists():
        # somebody removed the run's directory
        run.write_config(config)
    learner = checkpoint.learner
    files = {
        POLICY: policy_bytes(learner.policy, learner.spaces, Architecture.of(config)),
        LEARNER: safetensors.numpy.save(dict(learner.arrays)),
    }
    stood = [slot for slot in checkpoint.slots if slot is not None]
    if stood and len(stood) == len(checkpoint.slots):
        files[SLOTS] = slots_to_bytes(stood)
    for name, content in files.items():
        write_whole(partial / name, content)
    manifest = {
        "format": FORMAT,
        "best_return": checkpoint.best_return,
        "version": metadata.version("distpg"),
        "counters": dict(learner.counters),
        "progress": checkpoint.progress.to_json(),
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
    }
    write_whole(partial / MANIFEST, json.dumps(manifest, indent=2).encode())
    sync_folder(partial)
    if target.exists():
        # of the same steps: an update between them was taken back
        target.rename(target.with_name(target.name + ".old.tmp"))
    partial.rename(target)
    remove(target.with_name(target.name + ".old.tmp"))
    point(run, "latest", target)
    if checkpoint.best_return is not None:
        point(run, "best", target)
    kept = (run.checkpoints / "best").resolve()
    # a newer one is damaged, and was passed over
    older = [folder for folder in list_checkpoints(run) if folder < target]
    for stale in older[: max(0, len(older) + 1 - config.keep_checkpoints)]:
        if stale.resolve() != kept:
            shutil.rmtree(stale)


def point(run: RunDir, name: str, target: Path) -> None:
    """Move a link among the checkpoints to one of them."""
    link, place = run.checkpoints / f"{name}.tmp", run.checkpoints / name
    remove(link)
    link.symlink_to(target.name)
    if not place.is_symlink():
        # a copy of the run may have followed the link
        remove(place)
    link.rename(place)
    sync_folder(run.checkpoints)


def remove(path: Path) -> None:
    """Remove a folder, a file or a link, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def list_checkpoints(run: RunDir) -> list[Path]:
    """List the complete checkpoints, oldest first."""
    if not run.checkpoints.is_dir():
        return []
    return sorted(path for path in run.checkpoints.iterdir() if path.name.isdecimal())


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load a checkpoint, checked against its manifest.

    Raises:
        InputError: a file is missing, damaged, or of another format.
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
            counters=check_counts(manifest["counters"]),
            spaces=spaces_to_json(policy.obs_spec, policy.action_spec),
        )
        check_finite(folder / LEARNER, learner.arrays)
        slots = read_slots(folder / SLOTS, contents[SLOTS]) if SLOTS in contents else ()
        origin = f"{folder}, written by distpg {version}"
        with concerning(str(folder / MANIFEST)):
            progress = Progress.from_json(manifest["progress"])
            best_return = manifest["best_return"]
            if misfit(best_return, float | None):
                raise InputError(f"best_return is {best_return!r}, which is no number")
        return Checkpoint(learner, progress, slots, best_return, folder, origin)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"cannot read the checkpoint {folder}: {error}") from error
    except MALFORMED as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / MANIFEST} is no manifest of distpg: {error!r}") from error


def read_files(folder: Path, files: Mapping[str, Any]) -> dict[str, bytes]:
    """Read the files of a checkpoint, as its manifest lists them.

    Raises:
        InputError: one is missing, foreign, no file, or differs from its size or checksum.
    """
    contents: dict[str, bytes] = {}
    strange = files.keys() - set(FILES)
    if strange:
        raise InputError(f"{folder / MANIFEST} names {min(strange)!r}, which is none of its files")
    for name in (*FILES[:2], *(files.keys() & {SLOTS})):
        expected, found = files[name], (folder / name).lstat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a link" if stat.S_ISLNK(found.st_mode) else "no file"
            raise InputError(f"{folder / name} is {kind}, which no checkpoint holds")
        if found.st_size != expected["bytes"]:
            raise InputError(
                f"{folder / name} is damaged: it has {found.st_size} bytes, "
                f"{expected['bytes']!r:.20} are expected"
            )
        contents[name] = (folder / name).read_bytes()
        if hashlib.sha256(contents[name]).hexdigest() != expected["sha256"]:
            raise InputError(f"{folder / name} is damaged: it differs from its checksum")
    return contents


def check_counts(counts: Any) -> dict[str, int]:
    """Refuse what does not count.

    Raises:
        ValueError, AttributeError: names it.
    """
    for name, count in counts.items():
        if misfit(count, Annotated[int, Range(0, 2**63)]):
            raise ValueError(f"{name} is {count!r:.30}")
    return dict(counts)


def read_slots(path: Path, content: bytes) -> list[SlotState]:
    """Read where the slots stood.

    Raises:
        InputError: names the file.
    """
    try:
        return slots_from_bytes(content)
    except (safetensors.SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} holds no slots: {error!r}") from error
