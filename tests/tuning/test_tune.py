"""A study that is really run: a trial is pruned, one fails, and the study is killed in between."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distpg import load_config, resume
from distpg.run.checkpoint import list_checkpoints
from distpg.run.directory import RunDir
from tests.actors.test_actors import environment
from tests.tuning.spaces import TINY

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(900)]
STUDY = Path("runs", "tune", "tiny")


PROCESSES: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An own folder; what a failing test leaves running is killed."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    yield
    while PROCESSES:
        PROCESSES.pop().kill()


def started(*flags: str) -> subprocess.Popen[str]:
    """Start the command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "distpg", "tune", "tiny.toml", *flags],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    PROCESSES.append(process)
    return process


def run_dir(trial: int, seed: int) -> RunDir:
    return RunDir(STUDY / f"trial-{trial}" / f"seed-{seed}")


def wait_for_checkpoint(process: subprocess.Popen[str], run: RunDir) -> None:
    """Wait until a run has been saved."""
    deadline = time.monotonic() + 500
    while not (run.config.exists() and list_checkpoints(run)):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint within 500 s"
        time.sleep(0.02)


def test_a_study_that_is_killed_goes_on_where_it_was() -> None:
    # episodes of 6 steps in trial 0, of 2 in trial 1, and an error in trial 2
    first = started()
    wait_for_checkpoint(first, run_dir(1, 0))
    os.kill(first.pid, signal.SIGKILL)
    output, _ = first.communicate(timeout=60)
    assert "[1/3] trial 0 finished, mean return 15" in output
    assert 'trial 1 begins: env_kwargs = {"lengths": [2]}' in output
    finished = [run_dir(0, seed).result for seed in (0, 1)]
    times = [file.stat().st_mtime_ns for file in finished]

    output, _ = started().communicate(timeout=500)
    assert "trial 0 begins" not in output, "it was finished"
    assert [file.stat().st_mtime_ns for file in finished] == times
    assert 'trial 1 resumed: env_kwargs = {"lengths": [2]}' in output
    assert "[2/3] trial 1 pruned at 4,000 env steps, mean return 1" in output
    assert "[3/3] trial 2 failed: seed 0: --env-id: tests.environments:Counting" in output
    assert "1 finished, 1 pruned, 1 failed of 3 trials" in output

    assert load_config(str(STUDY / "best.toml")).env_kwargs == {"lengths": [6]}
    pruned = run_dir(1, 1)
    result = json.loads(pruned.result.read_text())
    assert result["stop_reason"] == "rung"
    assert 4_000 <= result["env_steps"] < 4_200
    assert resume(pruned.path, quiet=True).result["stop_reason"] == "total_steps"
    # all is done
    assert "begins" not in started().communicate(timeout=60)[0]


def test_ctrl_c_saves_the_study_and_says_how_to_go_on() -> None:
    process = started("--parallel", "2")
    for seed in (0, 1):
        wait_for_checkpoint(process, run_dir(0, seed))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGINT, output
    assert "the study is saved; the same command continues it" in output
    for seed in (0, 1):
        result = json.loads(run_dir(0, seed).result.read_text())
        assert result["stop_reason"] == "interrupted"
    assert not (STUDY / "lock").exists()
