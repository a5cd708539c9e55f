"""Checkpoints that are cut off: by a kill, or by a disk that is really full."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distpg.checkpoint import list_checkpoints, load_newest
from distpg.run_dir import RunDir
from tests.actors.test_actors import environment
from tests.faults.test_disk import ROOT, trained

SAVING = """
import dataclasses, sys
from pathlib import Path
from distpg.checkpoint import load_newest, save_checkpoint
from distpg.run_dir import RunDir

run = RunDir(Path(sys.argv[1]))
checkpoint, _ = load_newest(run)
config = run.read_config()
assert "torch" not in sys.modules
steps = checkpoint.progress.env_steps
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
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVING, str(run.path)],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        done = int(process.stdout.readline())
        time.sleep(float(generator.uniform(0, 0.1)))
        process.kill()
        done = int([str(done), *process.stdout.read().split()][-1])
        process.wait()
        while_writing += any(path.is_dir() for path in run.checkpoints.glob("*.tmp"))
        checkpoint, problems = load_newest(run)
        assert problems == []
        # what was complete, or about to be told
        assert checkpoint.progress.env_steps in (done, done + 1)
    assert while_writing >= kills // 2
    # and the next one clears up
    assert len(list_checkpoints(run)) <= run.read_config().keep_checkpoints + 1


LIMITED = """
import resource, sys
from pathlib import Path
from distpg import Config, train
from tests.faults.injection import FaultyWithState, fault
from tests.faults.test_processes import SHAPE

HARD = resource.getrlimit(resource.RLIMIT_FSIZE)[1]


class Limits(FaultyWithState):
    def fail(self):
        # less than the learner's part of a checkpoint
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, HARD))

    def step(self, action):
        if self.steps == self.at + 32:
            resource.setrlimit(resource.RLIMIT_FSIZE, (HARD, HARD))
        return super().step(action)


folder = Path(sys.argv[1])
config = Config(**{**SHAPE, "num_workers": 0, "checkpoint_every": 2, "total_steps": 600},
                env_kwargs=fault(folder, "full", 52))
train(config, make_env=Limits, run_dir=folder / "run")
"""


def test_files_that_may_not_grow_are_said_and_counted_and_training_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fired").exists()
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["checkpoint_failures"] == 1
    assert done.stdout.count("a checkpoint could not be written: [Errno 27] File too large") == 1
    assert load_newest(RunDir(tmp_path / "run"))[0].progress.env_steps == result["env_steps"]


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


FULL = (
    LIMITED.replace(
        "        # less than the learner's part of a checkpoint\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, HARD))\n",
        "        (folder / 'filler').write_bytes(bytes(shutil.disk_usage(folder).free))\n",
    )
    .replace(
        "            resource.setrlimit(resource.RLIMIT_FSIZE, (HARD, HARD))\n",
        "            (folder / 'filler').unlink(missing_ok=True)\n",
    )
    .replace("import resource, sys", "import resource, shutil, sys")
)


def test_on_a_full_disk_training_goes_on(small_disk: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(small_disk)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((small_disk / "run/result.json").read_text())
    assert result["checkpoint_failures"] == 1
    assert "No space left on device" in done.stdout
    assert load_newest(RunDir(small_disk / "run"))[0].progress.env_steps == result["env_steps"]
