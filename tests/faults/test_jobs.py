"""A run that a cluster's job was submitted for, and that is stopped as a job."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from distpg.run.checkpoint import list_checkpoints
from distpg.run.directory import RunDir
from distpg.run.loading import load_newest
from tests.actors.test_actors import ROOT, environment
from tests.faults.test_signals import WORDS

RAY = str(Path(sys.executable).with_name("ray"))


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on, for now."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in found]


@pytest.fixture
def dashboard(patience_s: str) -> Iterator[dict[str, str]]:
    """A cluster on loopback; the environment to reach its dashboard with.

    It kills a job that did not end within `patience_s` of being told to stop.
    """
    port, door, agents = free_ports(3)
    known = environment() | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{door}",
        "RAY_JOB_STOP_WAIT_TIME_S": patience_s,
    }
    words = ["--head", "--node-ip-address=127.0.0.1", "--num-cpus=3", f"--port={port}", "--block"]
    words += ["--dashboard-host=127.0.0.1", f"--dashboard-port={door}"]
    words += [f"--dashboard-agent-listen-port={agents}"]
    with subprocess.Popen([RAY, "start", *words], env=known, stdout=subprocess.DEVNULL) as head:
        try:
            yield known
        finally:
            head.terminate()


def job(known: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [RAY, "job", *words], env=known, capture_output=True, text=True, timeout=90, check=False
    )
    return done.stdout + done.stderr


# 3 s is Ray's default, which may be too short to finish an iteration in
@pytest.mark.parametrize(
    "patience_s",
    [pytest.param("60", marks=pytest.mark.slow), pytest.param("3", marks=pytest.mark.thorough)],
)
def test_a_job_that_is_stopped_has_saved_everything_or_what_it_had_time_for(
    dashboard: dict[str, str], patience_s: str, tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "run")
    entry = [sys.executable, str(ROOT / "launch.py"), *WORDS, "--run-dir", str(run.path)]
    submit = ["submit", "--submission-id", "train", "--no-wait", "--", *entry, "--address", "auto"]
    said, deadline = "", time.monotonic() + 150
    while "submitted successfully" not in said:
        assert time.monotonic() < deadline, said
        said = job(dashboard, *submit)
    while not list_checkpoints(run):
        assert time.monotonic() < deadline, job(dashboard, "logs", "train")
        time.sleep(0.2)
    said = job(dashboard, "stop", "train")
    assert "was stopped" in said, said
    assert run.result.exists() or patience_s == "3", job(dashboard, "logs", "train")
    assert load_newest(run)[1] == []
