"""Nobody reads what a run tells, or it can no longer be written: training goes on."""

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from distpg import resume, train
from distpg.run import checkpointer
from distpg.run.directory import RunDir
from distpg.run.saving import save_checkpoint
from tests.actors.test_actors import ROOT, environment
from tests.faults.injection import FaultyWithState, fault
from tests.faults.test_processes import SHAPE
from tests.settings import config_of
from tests.test_run import read_events

pytestmark = pytest.mark.thorough

WORDS = ["train", "--num-workers", "0", "--total-steps", "20000", "--hidden-sizes", "8"]


@pytest.mark.parametrize("sink", ["a closed pipe", "/dev/full"])
def test_where_nobody_reads_the_output_it_is_said_once_and_the_run_goes_on(
    sink: str, tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "run")
    command = [sys.executable, str(ROOT / "launch.py"), *WORDS, "--run-dir", str(run.path)]
    into = subprocess.PIPE if sink == "a closed pipe" else Path(sink).open("w")  # noqa: SIM115
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=into, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    if process.stdout is not None:
        process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(60) == 0, errors
    assert errors.startswith("output disabled, training continues: ")
    assert errors.count("\n") == 1
    assert json.loads(run.result.read_text())["stop_reason"] == "total_steps"


class Removes(FaultyWithState):
    """Removes the run's directory; a file may stand in its place until a save has failed."""

    failed = threading.Event()

    def fail(self) -> None:
        run = self.marker.parent / "run"
        while not (run / "checkpoints/latest").exists():
            time.sleep(0.01)
        shutil.rmtree(run.rename(run.with_name("removed")))
        if self.kind == "replace":
            run.touch()
            self.failed.clear()

    def step(self, action: Any) -> Any:
        run = self.marker.parent / "run"
        if self.steps == self.at + 20 and run.is_file():
            assert self.failed.wait(60)
            run.unlink()
        return super().step(action)


@pytest.mark.parametrize(("kind", "failures"), [("remove", 0), ("replace", 1)])
def test_a_directory_that_vanishes_is_said_once_and_is_there_again_at_the_end(
    kind: str,
    failures: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def save(*args: Any) -> None:
        try:
            save_checkpoint(*args)
        except OSError:
            Removes.failed.set()
            raise

    monkeypatch.setattr(checkpointer, "save_checkpoint", save)
    settings = {**SHAPE, "num_workers": 0, "checkpoint_every": 2, "total_steps": 600}
    # in the fourth iteration, when nothing is being saved
    config = config_of({**settings, "env_kwargs": fault(tmp_path, kind, 52)})
    outcome = train(config, make_env=Removes, run_dir=tmp_path / "run")
    said = capsys.readouterr().out
    assert (tmp_path / "fired").exists()
    assert said.count("TensorBoard events cannot be written: ") == 1
    assert outcome.result["checkpoint_failures"] == failures
    assert outcome.result["env_faults"] == 0
    assert json.loads((tmp_path / "run/result.json").read_text()) == outcome.result
    # what was told after it is there
    steps = [event.step for event in read_events(outcome.run_dir).Scalars("train/loss")]
    assert steps[-1] == outcome.result["env_steps"]
    resumed = resume(outcome.run_dir, make_env=Removes, total_steps=700, quiet=True)
    assert resumed.result["env_steps"] >= 700


SIGNALLED = """
import signal
from distpg import Config
from distpg.report.display import Display
from distpg.signals import handle_signals

display = Display(Config(env_id="CartPole-v1"), quiet=False)
count = 0


def handle(number, frame):
    global count
    count += 1
    display.interject(f"signal {count}")


with handle_signals(handle):
    signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGUSR1))
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    lines = 0
    while count < 3000:
        display.say(f"line {lines}")
        lines += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
display.close()
print(count, lines)
"""


def test_signals_while_a_line_is_printed_cost_neither_the_line_nor_the_run() -> None:
    command = [sys.executable, "-c", SIGNALLED]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=120, check=True
    )
    *printed, last = done.stdout.splitlines()
    signals, lines = map(int, last.split())
    assert printed.count("signal 1") == 1
    for kind, count in (("signal", signals), ("line", lines)):
        numbers = [line.rpartition(kind)[2] for line in printed if kind in line]
        assert len(numbers) == count
    assert not done.stderr
