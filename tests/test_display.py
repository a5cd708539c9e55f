"""What a run shows on a terminal, in a notebook and as JSON lines."""

import builtins
import csv
import json
import os
import pty
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distpg import InputError, RunError, imitate, resume, train
from distpg.report import display
from distpg.report.outputs import finite
from tests.actors.test_actors import ROOT, environment
from tests.environments import Breaks, Counting, Levels, WaitsForTheLog
from tests.test_watchers import tiny

ON_A_TERMINAL = """
import time
from distpg import Config
from distpg.progress import Progress
from distpg.report import display
from distpg.report.clock import Clock
from distpg.iteration import Update
from tests.iterations import iteration_of

display.DRAW_EVERY_S = display.WAKE_EVERY_S = 0.05
shown = display.Display(Config(env_id="CartPole-v1"), quiet=False)
shown.phase("starting Ray")
time.sleep(0.5)
shown.say("a message of the start")
clock = Clock(time.time())
clock.begin(Progress())
shown.begin(Progress(), clock)
for number in (1, 2):
    progress = Progress(iteration=number, env_steps=50 * number, returns=(20.0,))
    update = Update({"train/approx_kl": 0.5})
    iteration = iteration_of(progress, update=update, updated_at=time.time())
    clock.on_iteration(iteration)
    shown.on_iteration(iteration)
    time.sleep(0.5)
    shown.interject(f"a signal in iteration {number}")
    time.sleep(0.5)
shown.close()
shown.say("the end")
"""
MOVES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[78])")


def on_a_terminal(code: str, columns: int = 80) -> str:
    """Return what a program writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**environment(), "TERM": "xterm", "COLUMNS": str(columns), "LINES": "24"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    chunks: list[bytes] = []
    try:
        while chunk := os.read(ours, 65536):
            chunks.append(chunk)
    except OSError:
        # the other end is closed
        pass
    os.close(ours)
    output = b"".join(chunks).decode()
    assert process.wait(60) == 0, output
    return output


def test_on_a_terminal_the_panel_stays_below_the_messages_and_is_gone_at_the_end() -> None:
    output = on_a_terminal(ON_A_TERMINAL)
    lines = re.split(r"[\r\n]+", MOVES.sub("", output))
    assert max(map(len, lines)) == 80
    places = [
        output.index(text)
        for text in (
            "starting Ray",
            "a message of the start",
            "iteration 1   50 of 1,000,000 env steps",
            "a signal in iteration 1",
            "iteration 2   100 of 1,000,000 env steps",
            "a signal in iteration 2",
            # the line of the last iteration, for the scrollback
            "iteration 2  100 steps  return 20.0",
            "the end",
        )
    ]
    assert places == sorted(places)
    assert output.count("iteration 1  50 steps") == 0
    for message in ("a message of the start", "a signal in iteration 1", "the end"):
        assert lines.count(message) == 1
    # the last frame is erased, and the cursor is back
    assert output.rindex("╭") < output.rindex("\x1b[?25h")
    assert "╭" not in output[output.rindex("\x1b[2K") :]


def test_a_phase_that_takes_long_is_named_in_a_pipe_and_again_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "DRAW_EVERY_S", 0.25)
    monkeypatch.setattr(display, "LATE_S", 1.0)
    run = tmp_path / "run"
    waits = {"log": str(run / "log.txt"), "text": ": 3 s so far"}
    config = tiny(num_slots=1, num_envs=2, num_steps=32, total_steps=60, env_kwargs=waits)
    train(config, make_env=WaitsForTheLog, run_dir=run)
    said = capsys.readouterr().out
    # ten steps of two copies, in which a reset or two is counted as well
    found = re.findall(r"^first rollout (\d+) of 64 steps: (\d) s so far$", said, re.MULTILINE)
    assert [seconds for _, seconds in found] == ["1", "3"]
    assert all(20 <= int(steps) < 40 for steps, _ in found)


class Talks(Counting):
    """Prints at each reset, as environments do."""

    def reset(self, **arguments: Any) -> Any:
        print("not JSON")
        return super().reset(**arguments)


def events_of(text: str) -> list[dict[str, Any]]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_json_lines_are_all_that_is_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere(iteration: Any) -> dict[str, float]:
        return {"mine/nan": float("nan"), "mine/third": 1 / 3}

    run = tmp_path / "run"
    outcome = train(tiny(), make_env=Talks, watchers=[nowhere], run_dir=run, json_lines=True)
    printed = capsys.readouterr()
    *events, last = events_of(printed.out)
    assert "not JSON" in printed.err
    iterations = [event for event in events if event["event"] == "iteration"]
    with (run / "progress.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(iterations) == len(rows) == outcome.result["iterations"]
    for event, row in zip(iterations, rows, strict=True):
        assert event.pop("mine/nan") is None
        assert row.pop("mine/nan") == "nan"
        assert event["mine/third"] == 1 / 3
        assert {name: float(text) for name, text in row.items() if text} == {
            name: value for name, value in event.items() if name != "event"
        }
    assert {event["event"] for event in events} == {"iteration", "message"}
    assert last == {"event": "result", "run_dir": str(run), **outcome.result}
    assert sys.stdout is not sys.stderr
    resumed = resume(run, make_env=Counting, total_steps=400, json_lines=True)
    *_, last = events_of(capsys.readouterr().out)
    assert last["iterations"] == resumed.result["iterations"]


def test_the_result_is_the_last_line_also_after_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Breaks:
        return Breaks(after=11)

    with pytest.raises(RunError):
        train(tiny(max_env_faults=0), make_env=broken, run_dir=tmp_path / "run", json_lines=True)
    *_, last = events_of(capsys.readouterr().out)
    assert (last["event"], last["stop_reason"]) == ("result", "error")


def test_json_has_null_for_what_is_not_finite_and_for_nothing_else() -> None:
    given = {"a": [np.float32(0.5), float("inf"), None], "b": {"c": float("nan")}, "d": (True, 3)}
    assert finite(given) == {"a": [0.5, None, None], "b": {"c": None}, "d": [True, 3]}


def test_nothing_and_json_exclude_each_other(tmp_path: Path) -> None:
    both: dict[str, Any] = {"run_dir": tmp_path / "run", "quiet": True, "json_lines": True}
    with pytest.raises(InputError, match="--json-lines: --quiet prints nothing"):
        train(tiny(), make_env=Counting, **both)
    with pytest.raises(InputError, match="--json-lines: --quiet prints nothing"):
        imitate(tiny(), np.zeros_like, make_env=Counting, **both)
    assert not (tmp_path / "run").exists()


class Handle:
    """An output of a notebook's cell."""

    def __init__(self, content: dict[str, str]) -> None:
        self.contents = [content]

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.contents.append(content)


class ZMQInteractiveShell:
    """By its name rich recognizes a notebook."""


def test_a_notebook_has_one_output_that_is_updated_with_panel_and_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[Handle] = []

    def show(content: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        shown.append(Handle(content))
        return shown[-1]

    module = types.ModuleType("IPython.display")
    module.display = show  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    for name in ("DRAW_EVERY_S", "WAKE_EVERY_S"):
        monkeypatch.setattr(display, name, 0.01)
    outcome = train(tiny(), make_env=Levels, run_dir=tmp_path / "run")
    (output,) = shown
    last = output.contents[-1]
    assert last["text/html"].startswith("<pre")
    panel, messages = last["text/plain"].split("╯\n")
    assert f"iteration {outcome.result['iterations']} " in panel
    assert {len(line) for line in panel.splitlines()[:-1]} == {100}
    assert "observation obs: " in messages
    # only the last iteration has a line
    assert messages.count("iteration ") == 1
    assert "resume it: " in messages.splitlines()[-1]
    assert capsys.readouterr().out == ""
