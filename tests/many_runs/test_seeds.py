"""`train --seeds`: ordinary runs, side by side or one after the other, that go on after Ctrl-C."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from distpg import train
from distpg.many_runs.process import error_in
from distpg.many_runs.seeds import SeedRun, seed_table
from distpg.run.checkpoint import list_checkpoints
from distpg.run.directory import RunDir
from tests.actors.test_actors import environment, wait_until_gone
from tests.settings import config_of

SHAPE: dict[str, Any] = {
    **{"num_workers": 0, "num_slots": 1, "num_envs": 2, "num_steps": 32, "num_epochs": 1},
    **{"minibatch_size": 32, "hidden_sizes": (8,), "compile": "off", "checkpoint_every": 1},
    **{"gradient_stats_every": 0, "histogram_every": 0, "learner_threads": 1},
}


PROCESSES: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An own folder; what a failing test leaves running is killed."""
    monkeypatch.chdir(tmp_path)
    yield
    while PROCESSES:
        PROCESSES.pop().kill()


def started(**settings: Any) -> subprocess.Popen[str]:
    """Start the command for the seeds 0 and 1."""
    words = ["train", "--run-dir", "runs", "--seeds", "0", "1"]
    for name, value in (SHAPE | settings).items():
        words += ["--" + name.replace("_", "-"), str(value[0] if name == "hidden_sizes" else value)]
    process = subprocess.Popen(
        [sys.executable, "-m", "distpg", *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    PROCESSES.append(process)
    return process


def run_dir(seed: int) -> RunDir:
    return RunDir(Path("runs", f"seed-{seed}"))


def is_saved(seed: int) -> bool:
    return run_dir(seed).config.exists() and bool(list_checkpoints(run_dir(seed)))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until the command is so far."""
    deadline = time.monotonic() + 500
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it was not so far within 500 s"
        time.sleep(0.02)


def policy_of_one_run(seed: int, **settings: Any) -> bytes:
    """Return the policy of an ordinary run of the same settings."""
    config = config_of(SHAPE | settings | {"seed": seed})
    run = train(config, run_dir=Path("alone", str(seed)), quiet=True).run_dir
    return RunDir(run).policy.read_bytes()


@pytest.mark.thorough
@pytest.mark.timeout(1200)
def test_after_ctrl_c_the_same_command_goes_on_to_the_same_policies() -> None:
    first = started(total_steps=8_000)
    wait_for(lambda: is_saved(0), first)
    children = psutil.Process(first.pid).children(recursive=True)
    first.send_signal(signal.SIGINT)
    output, _ = first.communicate(timeout=100)
    assert first.returncode == 128 + signal.SIGINT, output
    assert "the runs are saved; the same command continues them" in output
    assert json.loads(run_dir(0).result.read_text())["stop_reason"] == "interrupted"
    assert not wait_until_gone(children)

    second = started(total_steps=8_000)
    output, _ = second.communicate(timeout=500)
    assert second.returncode == 0, output
    assert "seed 0: resumed" in output
    assert "seed 1: training" in output
    # what a run shows
    assert "\niteration " in output
    assert "mean return of the last 100 episodes: " in output
    for seed in (0, 1):
        assert run_dir(seed).policy.read_bytes() == policy_of_one_run(seed, total_steps=8_000)
    again = started(total_steps=8_000).communicate(timeout=100)[0]
    assert "seed 0: training" not in again
    assert "[2/2] seed 1: total_steps: mean return" in again


@pytest.mark.thorough
@pytest.mark.timeout(1200)
def test_side_by_side_they_share_one_ray() -> None:
    process = started(total_steps=3000, num_workers=1, parallel=2)
    wait_for(lambda: is_saved(0) and is_saved(1), process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert sum(child.name() == "raylet" for child in children) == 1
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    assert not wait_until_gone(children)
    assert "[2/2] seed " in output
    for seed in (0, 1):
        assert run_dir(seed).read_config().address is None
        assert run_dir(seed).policy.read_bytes() == policy_of_one_run(seed, total_steps=3000)


def written(seed: int, mean: float | None, best: float | None = None) -> SeedRun:
    """Return a finished run that has reached a return."""
    run = SeedRun(run_dir(seed), Path("settings.toml"), seed, quiet=True)
    run.directory.path.mkdir(parents=True)
    run.directory.policy.touch()
    result = {"stop_reason": "solved", "iterations": 9, "env_steps": 1234, "train_s": 5.0}
    result |= {
        "versions": {},
        "episode_return_mean": mean,
        "best_evaluation": best and {"return_mean": best},
    }
    run.directory.write_result(result)
    return run


def test_the_table_has_each_seed_and_the_t_interval_of_the_mean() -> None:
    unfinished = SeedRun(run_dir(9), Path("settings.toml"), 9, quiet=True)
    runs = [written(0, 1.0, 4.0), written(1, 3.0), written(2, None), unfinished]
    lines = list(seed_table(runs))
    assert [line.split()[0] for line in lines] == ["seed", "0", "1", "2", "mean", "mean"]
    assert lines[1].split() == ["0", "1.00", "4.00", "1,234", "5.0", "s", "solved"]
    assert lines[3].split()[:3] == ["2", "-", "-"]
    assert lines[4].endswith("episodes: 2.0, 2 seeds, 95% interval of the mean -10.7 to 14.7")
    assert lines[5].endswith("best evaluation: 4.00, 1 seed")
    assert list(seed_table([unfinished])) == []


def test_why_a_process_failed_is_the_line_that_distpg_says() -> None:
    assert error_in(["warning", "distpg: it broke", "resume it: ..."]) == "distpg: it broke"
    assert error_in(["Traceback", "KeyError: 'a'"]) == "KeyError: 'a'"
    assert error_in([]) == ""
