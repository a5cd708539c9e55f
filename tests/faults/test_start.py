"""Runs that are only about to start: interrupted, or where another is already."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from distpg.actors.cluster import LOOPBACK
from distpg.run.directory import RunDir
from distpg.run.loading import load_newest
from tests.actors.test_actors import ROOT, environment, wait_until_gone
from tests.faults.test_processes import title
from tests.faults.test_signals import WORDS, running


def has_process(process: psutil.Process, name: str) -> bool:
    return any(name in title(one) for one in process.children(recursive=True))


Stage = Callable[[psutil.Process, Path], bool]
STAGES: dict[str, Stage] = {
    "claimed": lambda process, run: (run / "lock").exists(),
    "Ray starts": lambda process, run: has_process(process, "gcs_server"),
    "its raylet starts": lambda process, run: has_process(process, "raylet"),
    "workers start": lambda process, run: has_process(process, "RolloutActor"),
    "configured": lambda process, run: (run / "config.toml").exists(),
    "saving": lambda process, run: any((run / "checkpoints").glob("*.tmp")),
}


def launched(*words: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), *words],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


# both signals have one handler: one of them for each stage
@pytest.mark.parametrize(
    ("stage", "number"), zip(STAGES, [signal.SIGTERM, signal.SIGINT] * 3, strict=True), ids=str
)
@pytest.mark.thorough
def test_a_signal_while_it_starts_or_saves_leaves_a_run_that_resumes_or_none(
    stage: str, number: signal.Signals, tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "run")
    process = launched(*WORDS, "--run-dir", str(run.path), cwd=tmp_path)
    below: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 90
        while not STAGES[stage](psutil.Process(process.pid), run.path):
            assert time.monotonic() < deadline, f"not {stage} within 90 s"
            time.sleep(0.005)
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        output, _ = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 128 + number, output
    assert "Traceback" not in output
    assert "SIGTERM received" not in output
    if run.path.exists():
        assert load_newest(run)[1] == []
        assert json.loads(run.result.read_text())["stop_reason"] == "interrupted"
    else:
        assert output == "launch.py: interrupted\n"
    assert not wait_until_gone(below)


STRANGER = """
import sys, ray
ray.init(address=sys.argv[1], logging_level="ERROR")
"""


@pytest.mark.thorough
def test_who_does_not_know_the_token_does_not_get_in(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    with running(run) as process:
        below = psutil.Process(process.pid).children(recursive=True)
        (node,) = [one for one in below if one.name() == "raylet"]
        (door,) = [word for word in node.cmdline() if word.startswith("--gcs-address=")]
        address = door.partition("=")[2]
        stranger = subprocess.run(
            [sys.executable, "-c", STRANGER, address],
            env=environment() | LOOPBACK | {"HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert stranger.returncode != 0
        assert "oken" in stranger.stderr
        assert process.poll() is None


@pytest.mark.thorough
def test_of_two_runs_in_one_directory_the_second_is_refused_with_the_firsts_pid(
    tmp_path: Path,
) -> None:
    run = RunDir(tmp_path / "run")
    with running(run) as first:
        more = ("resume", str(run.path), "--total-steps", "2000000000")
        again = (*WORDS, "--run-dir", str(run.path), "--overwrite")
        for words in (more, again):
            second = launched(*words, cwd=tmp_path)
            output, _ = second.communicate(timeout=60)
            assert second.returncode == 2, output
            assert f"is being written by process {first.pid};" in output
            assert "Traceback" not in output
        assert first.poll() is None
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)
    assert load_newest(run)[1] == []
