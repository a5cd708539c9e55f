"""Checkpoints that are cut off: by a kill, or by a disk that is really full."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distpg.run.checkpoint import list_checkpoints
from distpg.run.directory import RunDir
from distpg.run.loading import load_newest
from tests.actors.test_actors import environment
from tests.faults.test_disk import ROOT, trained

# a process that starts others, since each that starts by itself takes a second
SAVING = """
import dataclasses, os, sys
from pathlib import Path
from distpg.run.saving import save_checkpoint
from distpg.run.directory import RunDir
from distpg.run.loading import load_newest

run = RunDir(Path(sys.argv[1]))
checkpoint, _ = load_newest(run)
config = run.read_config()
assert "torch" not in sys.modules
steps = checkpoint.progress.env_steps
for line in sys.stdin:
    if pid := os.fork():
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("killed", flush=True)
        continue
    steps = int(line)
    while True:
        steps += 1
        progress = dataclasses.replace(checkpoint.progress, env_steps=steps)
        save_checkpoint(run, dataclasses.replace(checkpoint, progress=progress), config)
        print(steps, flush=True)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.thorough)])
def test_kills_during_saves_leave_the_newest_complete_checkpoint(
    kills: int, tmp_path: Path
) -> None:
    run = trained(tmp_path / "run", hidden_sizes=(512, 512), total_steps=60)
    generator = np.random.default_rng(0)
    while_writing = 0
    checkpoint, _ = load_newest(run)
    with subprocess.Popen(
        [sys.executable, "-c", SAVING, str(run.path)],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdin is not None
        assert starter.stdout is not None
        for _ in range(kills):
            print(checkpoint.progress.env_steps, file=starter.stdin, flush=True)
            pid = int(starter.stdout.readline())
            done = int(starter.stdout.readline())
            time.sleep(float(generator.uniform(0, 0.1)))
            os.kill(pid, signal.SIGKILL)
            done = int([done, *iter(starter.stdout.readline, "killed\n")][-1])
            while_writing += any(path.is_dir() for path in run.checkpoints.glob("*.tmp"))
            checkpoint, problems = load_newest(run)
            assert problems == []
            # what was complete, or about to be told
            assert checkpoint.progress.env_steps in (done, done + 1)
        starter.stdin.close()
    assert while_writing >= kills // 2
    # and the next one clears up
    assert len(list_checkpoints(run)) <= run.read_config().keep_checkpoints + 1


TRAINING = """
import resource, sys
from contextlib import suppress
from pathlib import Path
from distpg import Config, train
from tests.faults.injection import FaultyWithState, fault
from tests.faults.test_processes import SHAPE

HARD = resource.getrlimit(resource.RLIMIT_FSIZE)[1]


class Limits(FaultyWithState):
    def fail(self):
        with suppress(OSError):
            TAKE

    def step(self, action):
        if self.steps == self.at + 96:
            GIVE
        return super().step(action)


folder = Path(sys.argv[1])
config = Config(**{**SHAPE, "num_workers": 0, "checkpoint_every": 2, "total_steps": 900},
                env_kwargs=fault(folder, "full", 52))
train(config, make_env=Limits, run_dir=folder / "run")
"""


def trained_short_of_room(folder: Path, take: str, give: str, error: str) -> None:
    """Train while, for 96 steps from the fourth iteration on, there is no room on the disk."""
    script = TRAINING.replace("TAKE", take).replace("GIVE", give)
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "fired").exists()
    result = json.loads((folder / "run/result.json").read_text())
    # those of iterations 4 and 6 for certain: a save waits for the one before it
    failures = result["checkpoint_failures"]
    assert failures >= 2
    assert result["env_faults"] == 0
    said = [line for line in done.stdout.splitlines() if "a checkpoint could not be" in line]
    assert len(said) == failures
    assert all(error in line for line in said)
    assert load_newest(RunDir(folder / "run"))[0].progress.env_steps == result["env_steps"]


@pytest.mark.thorough
def test_where_files_may_not_grow_it_is_said_and_counted_and_training_goes_on(
    tmp_path: Path,
) -> None:
    # less than the learner's part of a checkpoint
    take = "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, HARD))"
    give = "resource.setrlimit(resource.RLIMIT_FSIZE, (HARD, HARD))"
    trained_short_of_room(tmp_path, take, give, "File too large")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a disk of its own can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.thorough
def test_on_a_full_disk_training_goes_on(small_disk: Path) -> None:
    take = "(folder / 'filler').write_bytes(bytes(2**20))"
    give = "(folder / 'filler').unlink(missing_ok=True)"
    trained_short_of_room(small_disk, take, give, "No space left on device")
