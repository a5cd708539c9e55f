"""Checkpoints: all that a run needs to go on, as safetensors and JSON.

A checkpoint is a folder, CHECKPOINTS/STEP, written under another name and renamed when complete.
Its manifest lists sizes and SHA-256 of the other files; a checkpoint that does not match is not
used.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy

from distpg.config import Config
from distpg.errors import InputError
from distpg.policy.architecture import Architecture
from distpg.policy.file import policy_bytes, read_policy
from distpg.progress import Progress
from distpg.records import LearnerState
from distpg.run_dir import RunDir, write_whole
from distpg.snapshot import SlotState, slots_from_bytes, slots_to_bytes
from distpg.spaces import spaces_to_json

SCHEMA = 1
MANIFEST = "manifest.json"
SLOTS = "slots.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A run between two iterations."""

    learner: LearnerState
    progress: Progress
    slots: Sequence[SlotState | None] = ()
    """Where each slot stood, None if its environment does not tell."""


def save_checkpoint(run: RunDir, checkpoint: Checkpoint, config: Config) -> None:
    """Write a checkpoint, then drop the oldest beyond `keep_checkpoints`."""
    target = run.checkpoints / f"{checkpoint.progress.env_steps:012d}"
    partial = target.with_name(target.name + ".tmp")
    for folder in (partial, target):
        if folder.exists():
            shutil.rmtree(folder)
    partial.mkdir(parents=True)
    learner = checkpoint.learner
    files = {
        "policy.safetensors": policy_bytes(learner.policy, learner.spaces, Architecture.of(config)),
        "learner.safetensors": safetensors.numpy.save(dict(learner.arrays)),
    }
    stood = [slot for slot in checkpoint.slots if slot is not None]
    if stood and len(stood) == len(checkpoint.slots):
        files[SLOTS] = slots_to_bytes(stood)
    for name, content in files.items():
        write_whole(partial / name, content)
    manifest = {
        "schema": SCHEMA,
        "counters": dict(learner.counters),
        "progress": checkpoint.progress.to_json(),
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
    }
    write_whole(partial / MANIFEST, json.dumps(manifest, indent=2).encode())
    partial.rename(target)
    for stale in list_checkpoints(run)[: -config.keep_checkpoints]:
        shutil.rmtree(stale)


def list_checkpoints(run: RunDir) -> list[Path]:
    """List the complete checkpoints, oldest first."""
    if not run.checkpoints.is_dir():
        return []
    return sorted(path for path in run.checkpoints.iterdir() if path.name.isdecimal())


def load_newest(run: RunDir) -> Checkpoint:
    """Load the newest checkpoint of a run.

    Raises:
        InputError: there is none, or it is damaged.
    """
    found = list_checkpoints(run)
    if not found:
        raise InputError(f"{run.path} has no checkpoint to go on from")
    return load_checkpoint(found[-1])


def load_networks(run: RunDir) -> LearnerState:
    """Load the networks of a run: of its newest checkpoint, else of its final policy alone.

    Raises:
        InputError: it has neither, or they are damaged.
    """
    if list_checkpoints(run) or not run.policy.is_file():
        return load_newest(run).learner
    policy = read_policy(run.policy)
    spaces = spaces_to_json(policy.obs_spec, policy.action_spec)
    return LearnerState(policy.weights, arrays={}, counters={}, spaces=spaces)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load a checkpoint, checked against its manifest.

    Raises:
        InputError: a file is missing, damaged, or of another schema.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        if manifest["schema"] != SCHEMA:
            raise InputError(
                f"{folder} has schema {manifest['schema']}; this version reads schema {SCHEMA}"
            )
        contents: dict[str, bytes] = {}
        for name in ("policy.safetensors", "learner.safetensors", SLOTS):
            if name == SLOTS and name not in manifest["files"]:
                continue
            contents[name] = (folder / name).read_bytes()
            if hashlib.sha256(contents[name]).hexdigest() != manifest["files"][name]["sha256"]:
                raise InputError(f"{folder / name} is damaged: it differs from its checksum")
        policy = read_policy(folder / "policy.safetensors")
        learner = LearnerState(
            policy=policy.weights,
            arrays=safetensors.numpy.load(contents["learner.safetensors"]),
            counters=manifest["counters"],
            spaces=spaces_to_json(policy.obs_spec, policy.action_spec),
        )
        slots = slots_from_bytes(contents[SLOTS]) if SLOTS in contents else ()
        return Checkpoint(learner, Progress.from_json(manifest["progress"]), slots)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"cannot read the checkpoint {folder}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / MANIFEST} is no manifest of distpg: {error!r}") from error


class Checkpointer:
    """Saves every few iterations, and at the end."""

    def __init__(
        self,
        run: RunDir,
        config: Config,
        learner: Callable[[], LearnerState],
        slots: Callable[[], Sequence[SlotState | None]],
    ) -> None:
        """Take where to save, how often, and how the states of learner and slots are read."""
        self.run = run
        self.config = config
        self.learner = learner
        self.slots = slots
        self.saved: Checkpoint | None = None

    def on_iteration(self, progress: Progress, scalars: object, weights: object) -> None:
        """Save if a checkpoint is due."""
        every = self.config.checkpoint_every
        if every and progress.iteration % every == 0:
            self.save(progress)

    def save(self, progress: Progress) -> LearnerState:
        """Save now, unless that was just done; return the learner's state."""
        if self.saved is None or self.saved.progress != progress:
            self.saved = Checkpoint(self.learner(), progress, self.slots())
            save_checkpoint(self.run, self.saved, self.config)
        return self.saved.learner
