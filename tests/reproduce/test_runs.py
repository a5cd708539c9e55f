"""A table that is really trained: in parts, after a kill, with a run that fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from distpg.reproduce.results import read_measured, read_results
from distpg.reproduce.runs import Run, prepare, runs_of
from distpg.reproduce.table import load_table
from distpg.run.checkpoint import list_checkpoints
from distpg.run.directory import RunDir
from tests.actors.test_actors import environment, wait_until_gone
from tests.reproduce.tables import TINY

LONGER = TINY.replace("steps = 2000", "steps = 12000").replace("steps = 2500", "steps = 12000")
SHORT = (
    TINY.replace("steps = 2000", "steps = 300")
    .replace("steps = 2500", "steps = 300")
    .replace("settings = { eval_every = 8, eval_episodes = 2 }", "")
    .replace('measure = "best_evaluation"', 'measure = "final_greedy"')
)
TASKS = ("CartPole", "Acrobot")


def words(*flags: str) -> list[str]:
    return [sys.executable, "-m", "distpg", "reproduce", "tiny.toml", *flags]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finish(*flags: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        words(*flags), env=environment(), capture_output=True, text=True, timeout=200, check=False
    )


@contextmanager
def under_way(ready: Callable[[], bool], *flags: str) -> Generator[subprocess.Popen[str]]:
    """Have the command running, at the moment when it is ready."""
    process = subprocess.Popen(
        words(*flags),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 100
        while not ready():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "it was not ready within 100 s"
            time.sleep(0.05)
        yield process
    finally:
        process.kill()


def run_dir(task: str, seed: int) -> RunDir:
    return RunDir(Path("runs", "reproduce", "tiny", task, f"seed-{seed}"))


def saved(task: str, seed: int) -> bool:
    run = run_dir(task, seed)
    return run.config.exists() and len(list_checkpoints(run)) > 1


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_what_was_killed_in_the_middle_goes_on_to_the_same_results(folder: Path) -> None:
    Path("tiny.toml").write_text(LONGER)
    flags = ("--seeds", "1", "--parallel", "2")
    with under_way(lambda: all(saved(x, 0) for x in TASKS), *flags) as process:
        children = psutil.Process(process.pid).children(recursive=True)
        for one in (psutil.Process(process.pid), *children):
            one.kill()
    assert not wait_until_gone(children)
    assert not run_dir("CartPole", 0).result.exists()
    again = finish(*flags, "--save", "data.json")
    assert again.returncode == 0, again.stderr
    assert "CartPole, seed 0: resumed" in again.stdout
    assert "[2/2]" in again.stdout
    results = read_results(Path("data.json"))
    assert {name: [*task.runs] for name, task in results.tasks.items()} == {x: [0] for x in TASKS}
    assert "not measured yet" not in Path("runs/reproduce/tiny/report.md").read_text()
    assert Path("runs/reproduce/tiny/curves.png").read_bytes().startswith(b"\x89PNG")
    # what was not interrupted reaches the same; what lacks its result alone is not trained again
    record = run_dir("CartPole", 0).path.with_suffix(".json")
    resumed = read_measured(record)
    record.unlink()
    shutil.rmtree(run_dir("CartPole", 0).path)
    run_dir("Acrobot", 0).path.with_suffix(".json").unlink()
    run_dir("Acrobot", 0).result.unlink()
    whole = finish(*flags)
    assert whole.returncode == 0, whole.stderr
    assert "CartPole, seed 0: training" in whole.stdout
    assert "Acrobot, seed 0: resumed" in whole.stdout
    trained = read_measured(record)
    assert resumed is not None
    assert trained is not None
    assert (resumed.measures, resumed.curve) == (trained.measures, trained.curve)


@pytest.mark.thorough
def test_ctrl_c_saves_the_runs_and_says_how_to_go_on() -> None:
    Path("tiny.toml").write_text(LONGER)
    with under_way(lambda: saved("CartPole", 0), "--tasks", "CartPole", "--seeds", "1") as process:
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, output
    assert "the runs are saved; the same command continues them" in output
    assert json.loads(run_dir("CartPole", 0).result.read_text())["stop_reason"] == "interrupted"
    assert not wait_until_gone(children)


@pytest.mark.thorough
def test_runs_end_saved_with_the_process_that_started_them() -> None:
    Path("tiny.toml").write_text(LONGER)
    with under_way(lambda: saved("CartPole", 0), "--tasks", "CartPole", "--seeds", "1") as process:
        children = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        assert not wait_until_gone(children)
    assert json.loads(run_dir("CartPole", 0).result.read_text())["stop_reason"] == "interrupted"
    assert not (run_dir("CartPole", 0).path / "lock").exists()


@pytest.mark.thorough
def test_one_that_fails_is_told_and_the_others_go_on() -> None:
    Path("tiny.toml").write_text(SHORT.replace('"Acrobot-v1"', '"tests.faulty:NanObs-v0"'))
    done = finish("--seeds", "1", "--parallel", "1")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Acrobot, seed 0 failed: distpg: ")
    assert "is not finite: nan" in line
    assert "CartPole, seed 0: last 100" in done.stdout
    assert "not measured yet: Acrobot" in Path("runs/reproduce/tiny/report.md").read_text()


def test_other_settings_in_the_same_folder_are_refused(folder: Path) -> None:
    Path("tiny.toml").write_text(TINY)
    prepare(load_table("tiny.toml"), folder)
    prepare(load_table("tiny.toml"), folder)
    Path("tiny.toml").write_text(TINY.replace("num_steps = 32", "num_steps = 64"))
    refused = finish("--folder", str(folder))
    assert refused.returncode == 2
    assert "have num_steps = 32, the table has 64; choose another folder" in refused.stderr


def test_a_report_of_runs_with_other_settings_is_refused(folder: Path) -> None:
    Path("tiny.toml").write_text(TINY)
    prepare(load_table("tiny.toml"), folder)
    Path("tiny.toml").write_text(TINY.replace("steps = 2000", "steps = 3000"))
    refused = finish("--folder", str(folder), "--report", "--save", "found.json")
    assert refused.returncode == 2
    assert "have total_steps = 2000, the table has 3000" in refused.stderr
    assert not Path("found.json").exists()


def test_runs_begin_with_the_first_seed_of_every_task(folder: Path) -> None:
    Path("tiny.toml").write_text(TINY)
    runs = runs_of(load_table("tiny.toml"), folder)
    assert [*map(str, runs)] == [
        "CartPole, seed 0",
        "Acrobot, seed 0",
        "CartPole, seed 1",
        "Acrobot, seed 1",
    ]


def test_a_run_that_another_process_writes_is_waited_for(folder: Path) -> None:
    Path("tiny.toml").write_text(TINY)
    run = Run(load_table("tiny.toml"), "CartPole", 0, folder)
    assert not run.directory.being_written()
    run.directory.path.mkdir()
    with run.directory.locked():
        code = (
            "import sys, pathlib\n"
            "from distpg.reproduce.runs import Run\n"
            "from distpg.reproduce.table import load_table\n"
            "run = Run(load_table('tiny.toml'), 'CartPole', 0, pathlib.Path(sys.argv[1]))\n"
            "print(run.directory.being_written())"
        )
        command = [sys.executable, "-c", code, str(folder)]
        asked = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=False
        )
        assert asked.stdout.strip() == "True", asked.stderr
    assert not run.directory.being_written()
