"""Write checkpoints, the links `latest` and `best` to them, and remove old ones."""

import hashlib
import json
import shutil
from importlib import metadata
from pathlib import Path

import safetensors.numpy

from distpg.config.config import Config
from distpg.policy.architecture import Architecture
from distpg.policy.file import policy_bytes
from distpg.rollout.slot_state import slots_to_bytes
from distpg.run.checkpoint import (
    FORMAT,
    LEARNER,
    MALFORMED,
    MANIFEST,
    POLICY,
    SLOTS,
    Checkpoint,
    candidate_values,
    folder_of,
    list_checkpoints,
)
from distpg.run.directory import RunDir, fsync_directory, remove, write_atomically


def save_checkpoint(run: RunDir, checkpoint: Checkpoint, config: Config) -> None:
    """Write a checkpoint, and before it the candidate that it needs; remove old ones.

    The newest `keep_checkpoints` stay, the best, and the candidate.
    """
    candidate = checkpoint.candidate
    if candidate is not None and not folder_of(run, candidate.checkpoint).exists():
        write_checkpoint(run, candidate.checkpoint, config)
    target = write_checkpoint(run, checkpoint, config)
    move_link(run, "latest", target)
    if checkpoint.best_return is not None:
        move_link(run, "best", target)
    remove_old(run, target, config)


def save_best(run: RunDir, checkpoint: Checkpoint, config: Config) -> None:
    """Make an earlier checkpoint the best, with its `best_return`; write it if it was not."""
    target = folder_of(run, checkpoint)
    try:
        manifest = json.loads((target / MANIFEST).read_text("utf-8"))
        manifest["best_return"] = checkpoint.best_return
        write_atomically(target / MANIFEST, json.dumps(manifest, indent=2).encode())
    except (FileNotFoundError, TypeError, ValueError):
        write_checkpoint(run, checkpoint, config)
    move_link(run, "best", target)
    newest = max(target, (run.checkpoints / "latest").resolve(), key=newness)
    move_link(run, "latest", newest)
    remove_old(run, newest, config)


def newness(folder: Path) -> int:
    """Return the env steps of a checkpoint's folder; -1 if it is none."""
    return int(folder.name) if folder.name.isdecimal() else -1


def write_checkpoint(run: RunDir, checkpoint: Checkpoint, config: Config) -> Path:
    """Write the folder of a checkpoint, and return it."""
    target = folder_of(run, checkpoint)
    partial = target.with_name(target.name + ".tmp")
    # left by a process that was killed; the lock excludes other writers
    for leftover in run.checkpoints.glob("*.tmp"):
        remove(leftover)
    partial.mkdir(parents=True)
    if not run.config.exists():
        # the run directory was deleted during the run
        run.write_config(config)
    learner, candidate = checkpoint.learner, checkpoint.candidate
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
        "candidate": None if candidate is None else candidate.to_json(),
        "evaluation_asked": checkpoint.evaluation_asked,
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
    return target


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


def remove_old(run: RunDir, newest: Path, config: Config) -> None:
    """Remove the oldest beyond `keep_checkpoints`, except the best and what those kept need."""
    # newer ones are damaged: they were skipped when the run was resumed
    folders = [folder for folder in list_checkpoints(run) if newness(folder) <= newness(newest)]
    old, kept = folders[: -config.keep_checkpoints], folders[-config.keep_checkpoints :]
    needed = {candidate_of(folder) for folder in kept}
    best = (run.checkpoints / "best").resolve()
    for stale in old:
        if stale.resolve() != best and stale not in needed:
            shutil.rmtree(stale)


def candidate_of(folder: Path) -> Path | None:
    """Return the folder of the candidate that a checkpoint needs; None if it is damaged."""
    try:
        values = candidate_values(json.loads((folder / MANIFEST).read_text("utf-8")))
        return None if values is None else folder.with_name(f"{values['env_steps']:012d}")
    except (OSError, *MALFORMED):
        return None
