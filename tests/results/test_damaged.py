"""Runs with a damaged file: each is named and left out, and the others are listed and drawn."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from distpg.cli import main
from distpg.results.curves import GroupCurve
from distpg.results.figure import draw
from distpg.results.groups import Group, find_sources, group_runs
from distpg.results.runs import find_runs, read_run
from distpg.results.sb3 import read_monitor
from distpg.results.statistics import Band
from tests.results.short import write_events, write_monitor
from tests.test_cli import assert_refused

RETURN = "rollout/ep_rew_mean"
TABLE = f"iteration,env_steps,{RETURN}\n1,64,10.0\n2,128,20.0\n"
RESULT = {
    "iterations": 2,
    "env_steps": 128,
    "stop_reason": "total_steps",
    "train_s": 1.5,
    "versions": {},
}


def write_run(folder: Path, **changes: Any) -> Path:
    """Write the files of a finished run of two iterations."""
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('env_id = "CartPole-v1"\nalgo = "ppo"\nseed = 0\n')
    (folder / "progress.csv").write_text(TABLE)
    (folder / "result.json").write_text(json.dumps(RESULT | changes))
    return folder


def append(name: str, text: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_text((run / name).read_text() + text)


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_text(text)


def folder_named(name: str) -> Callable[[Path], object]:
    return lambda run: (run / name).mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (append("progress.csv", "3,192,30.0,7\n"), "its last row does not fit its columns"),
        (append("progress.csv", "3,192\n"), "its last row does not fit its columns"),
        (append("progress.csv", "3,1\r92,30.0\n"), "progress.csv cannot be read"),
        (append("progress.csv", "3,inf,30.0\n"), "no number as env_steps"),
        (write("progress.csv", f"env_steps,{RETURN}\n64,1.0\n"), "no number as iteration"),
        (write("result.json", json.dumps(RESULT | {"iterations": None})), "iterations is None"),
        (write("result.json", json.dumps(RESULT | {"versions": 3})), "versions is 3"),
        (append("config.toml", "gamma = 2020-01-01\n"), "config.toml cannot be read"),
        (write("config.toml", 'env_id = "a"\nalgo = "ppo"\nseed = [0]\n'), "its seed is [0]"),
        (folder_named("lock"), "lock cannot be read"),
    ],
)
def test_it_is_named_and_left_out(
    tmp_path: Path,
    damage: Callable[[Path], object],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_run(tmp_path / "runs" / "good")
    damage(write_run(tmp_path / "runs" / "odd"))
    assert main(["runs", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("left out: ")
    assert message in line
    assert len(said.out.splitlines()) == 2
    assert main(["plot", str(tmp_path / "runs"), "--out", str(tmp_path / "points.csv")]) == 0
    assert capsys.readouterr().err == f"{line}\n"
    assert_refused(["plot", str(tmp_path / "runs" / "odd")], [message], capsys)


def test_a_table_that_is_damaged_below_its_end_is_left_out_of_the_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = "iteration,env_steps,return_mean\n1,64,5.0\n"
    for name in ("good", "odd"):
        write_run(tmp_path / "runs" / name)
        (tmp_path / "runs" / name / "evaluations.csv").write_text(table)
    odd = tmp_path / "runs" / "odd" / "evaluations.csv"
    odd.write_text("env_steps,return_mean\n64,5.0\n")
    words = ["--y", "eval/mean_reward", "--out", str(tmp_path / "points.csv")]
    assert main(["plot", str(tmp_path / "runs"), *words]) == 0
    assert "odd: a table of it has no column 'iteration'" in capsys.readouterr().err


def test_events_that_are_damaged_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "PPO_1"
    write_events(folder, RETURN, [(100, 10.0)])
    (file,) = folder.iterdir()
    file.write_bytes(b"nonsense" * 20)
    assert_refused(
        ["plot", str(folder)], ["PPO_1: left out, it has no rollout/ep_rew_mean"], capsys
    )
    with file.open("wb") as events:
        RecordWriter(events).write(b"\xff\xff\xff")
    assert_refused(["plot", str(folder)], ["PPO_1: its events cannot be read"], capsys)


def test_settings_above_runs_and_a_monitor_above_events_hide_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "a")
    shutil.copy(run / "config.toml", tmp_path / "runs" / "config.toml")
    assert [*find_runs(tmp_path / "runs")] == [run]
    write_events(tmp_path / "log" / "PPO_1", RETURN, [(100, 10.0)])
    write_monitor(tmp_path / "log" / "monitor.csv", "CartPole-v1", 0.0, [(1, 1, 1)])
    sources, _ = find_sources([tmp_path / "log"])
    assert [source.path.name for source in sources] == ["log", "PPO_1"]


@pytest.mark.parametrize(
    ("changes", "state", "reason"),
    [
        ({}, "finished", "total_steps"),
        ({"iterations": 1}, "stopped", "killed"),
        ({"iterations": 9}, "stopped", "killed"),
        ({"iterations": 9, "tables_complete": False}, "finished", "total_steps"),
        ({"iterations": 1, "tables_complete": False}, "stopped", "killed"),
        ({"iterations": 3, "stop_reason": "error", "error": "no"}, "failed", "no"),
        ({"stop_reason": "interrupted"}, "stopped", "signal"),
        ({"stop_reason": "rung"}, "stopped", "a rung of `distpg tune`"),
    ],
)
def test_the_state_by_result_and_tables(
    tmp_path: Path, changes: dict[str, Any], state: str, reason: str
) -> None:
    found = read_run(write_run(tmp_path / "run", **changes))
    assert (found.state, found.reason) == (state, reason)


def test_runs_of_environments_that_are_not_known_are_one_curve_in_one_folder_only(
    tmp_path: Path,
) -> None:
    for place in ("a", "b"):
        for name in ("PPO_1", "PPO_2"):
            write_events(tmp_path / place / name, RETURN, [(100, 10.0)])
    sources, _ = find_sources([tmp_path])
    groups = group_runs(sources, "algo")
    assert [(group.label, len(group.sources)) for group in groups] == [
        (f"SB3 PPO, folder={tmp_path / place}", 2) for place in ("a", "b")
    ]


def test_only_the_whole_name_none_is_no_environment(tmp_path: Path) -> None:
    names = {"NonesuchEnv-v0": "NonesuchEnv-v0", "None": "", "": ""}
    for name, found in names.items():
        write_monitor(tmp_path / "monitor.csv", name, 0.0, [])
        assert read_monitor(tmp_path / "monitor.csv").env_id == found


def test_a_dollar_in_a_name_is_no_formula(tmp_path: Path) -> None:
    one = np.ones(2)
    name = r"a$\frac$b"
    curve = GroupCurve(Group(name, name, ()), 1, np.arange(2.0), Band(one, one, one))
    draw([curve], "steps", name, tmp_path / "a.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]
