"""Signals to a real run: once, it stops with everything saved; twice, it is gone."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from distpg.run.checkpoint import list_checkpoints
from distpg.run.directory import RunDir
from distpg.run.loading import load_newest
from tests.actors.test_actors import ROOT, environment, wait_until_gone

WORDS = [
    *("train", "--num-workers", "1", "--total-steps", "1000000000", "--hidden-sizes", "8"),
    *("--num-steps", "64", "--num-epochs", "1", "--checkpoint-every", "5", "--compile", "off"),
]


@contextmanager
def running(run: RunDir) -> Generator[subprocess.Popen[str]]:
    """Have a run that has written checkpoints."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), *WORDS, "--run-dir", str(run.path)],
        cwd=run.path.parent,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not list_checkpoints(run):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "no checkpoint within 60 s"
            time.sleep(0.1)
        yield process
    finally:
        process.kill()


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_once_it_stops_after_its_iteration_with_everything_saved(
    number: signal.Signals, tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "run")
    with running(run) as process:
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    result = json.loads(run.result.read_text())
    assert result["stop_reason"] == "interrupted"
    checkpoint, problems = load_newest(run)
    assert problems == []
    assert checkpoint.progress.env_steps == result["env_steps"] == result["trained_steps"]
    assert not (run.path / "lock").exists()
    assert not wait_until_gone(below)


@pytest.mark.thorough
def test_twice_it_is_gone_within_seconds(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    with running(run) as process:
        below = psutil.Process(process.pid).children(recursive=True)
        # the worker cannot end its iteration
        (worker,) = [one for one in below if "RolloutActor" in " ".join(one.cmdline())]
        worker.suspend()
        # what was under way when it stopped comes to its end
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        took_s = time.monotonic() - began
    assert process.returncode == 130, output
    # 3 s on a machine with nothing else to do
    assert took_s < 9, took_s
    assert load_newest(run)[1] == []
    assert not wait_until_gone(below)


@pytest.mark.thorough
def test_the_drivers_death_leaves_no_worker_and_a_checkpoint(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    with running(run) as process:
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
    assert not wait_until_gone(below)
    assert load_newest(run)[1] == []
