"""What a run leaves to read: log.txt, and tables of iterations, episodes and faults."""

import csv
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from distpg import Config, InputError, RunError, resume, train
from distpg.envs.copies import Copies
from distpg.envs.metrics import metrics_by_copy, metrics_of
from distpg.errors import EnvError
from distpg.report.tables import Table
from distpg.run.directory import RunDir
from tests.environments import Breaks, Levels
from tests.test_watchers import tiny


def table(run: Path, name: str) -> list[dict[str, str]]:
    with (run / name).open(newline="") as file:
        return [*csv.DictReader(file)]


class Reports(Levels):
    """Reports the length of an episode twice over, and whether it is one of every second."""

    number = 0

    def step(self, action: Any) -> Any:
        obs, _, terminated, truncated, info = super().step(action)
        self.number += int(terminated)
        metrics = {"twice": np.int64(2 * self.count)}
        info = {"episode_metrics": metrics, "is_success": self.number % 2 == 0}
        return obs, 1.0, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "number": self.number}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.number = int(state["number"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny(eval_every=2, eval_episodes=3)
    return train(
        config, make_env=Reports, run_dir=tmp_path_factory.mktemp("runs") / "run", quiet=True
    ).run_dir


@pytest.mark.parametrize(
    ("env_id", "folder"),
    [("<Room>", "Room"), ("rooms:Room", "rooms-Room"), ("ALE/Pong-v5", "ALE-Pong-v5")],
)
def test_the_folder_of_runs_is_named_by_the_environment(env_id: str, folder: str) -> None:
    assert RunDir.default(Config(env_id=env_id)).path.parts[-3:-1] == ("runs", folder)


def test_each_iteration_is_a_row_with_all_its_scalars(whole: Path) -> None:
    rows = table(whole, "progress.csv")
    result = json.loads((whole / "result.json").read_text())
    assert [int(row["iteration"]) for row in rows] == [*range(1, result["iterations"] + 1)]
    assert int(rows[-1]["env_steps"]) == result["env_steps"]
    assert float(rows[-1]["rollout/ep_rew_mean"]) == result["episode_return_mean"]
    # the column is new in the fourth row: the result of iteration 2 takes effect in iteration 4
    assert [bool(row["eval/mean_reward"]) for row in rows[:4]] == [False, False, False, True]
    assert {"train/approx_kl", "perf/step_s", "time/fps"} <= rows[0].keys()


def test_each_episode_is_a_row_with_what_the_environment_reported(whole: Path) -> None:
    rows = table(whole, "episodes.csv")
    result = json.loads((whole / "result.json").read_text())
    assert len(rows) == result["episodes"]
    assert [*rows[0]][:3] == ["r", "l", "t"]
    assert {row["r"] for row in rows} == {"5.0"}
    assert {(row["l"], row["twice"]) for row in rows} == {("5", "10.0")}
    # by env, one after the other: failure, success, failure, ...
    assert {row["success"] for row in rows[:4]} == {"0.0"}
    assert 0.3 < np.mean([float(row["success"]) for row in rows]) < 0.6
    times = [float(row["t"]) for row in rows]
    assert times == sorted(times)


def test_the_means_of_what_was_reported_are_scalars(whole: Path) -> None:
    rows, episodes = table(whole, "progress.csv"), table(whole, "episodes.csv")
    last = [float(row["success"]) for row in episodes[-100:]]
    assert float(rows[-1]["rollout/success_rate"]) == pytest.approx(np.mean(last))
    assert float(rows[-1]["rollout/twice"]) == 10
    assert float(rows[3]["eval/twice"]) == 10
    # of an env's first and second episode, and of another's first
    assert float(rows[3]["eval/success_rate"]) == pytest.approx(1 / 3)


def test_each_evaluation_is_a_row(whole: Path) -> None:
    rows, steps = table(whole, "evaluations.csv"), table(whole, "progress.csv")
    result = json.loads((whole / "result.json").read_text())
    assert [int(row["iteration"]) for row in rows] == [*range(2, result["iterations"] + 1, 2)]
    first = rows[0]
    assert first["env_steps"] == steps[1]["env_steps"]
    assert first["takes_effect"] == "4"
    assert (first["episodes"], first["return_mean"]) == ("3", "5.0")
    assert first["return_interval"] == "0.0"
    assert (first["length_mean"], first["twice"]) == ("5.0", "10.0")
    assert float(first["success_rate"]) == pytest.approx(1 / 3)


def test_a_resumed_run_has_the_files_of_one_that_was_not_stopped(
    whole: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(whole, broken, symlinks=True)
    for later in sorted((broken / "checkpoints").glob("[0-9]*"))[4:]:
        shutil.rmtree(later)
    before = json.loads((whole / "result.json").read_text())
    after = resume(broken, make_env=Reports, quiet=True).result
    timed = ("t",)
    for name in ("episodes.csv", "faults.csv"):
        assert without(table(broken, name), timed) == without(table(whole, name), timed)
    for one, other in zip(table(broken, "progress.csv"), table(whole, "progress.csv"), strict=True):
        same = {
            key for key in other if not key.startswith(("time/", "perf/", "workers/", "faults/"))
        }
        assert {key: one[key] for key in same} == {key: other[key] for key in same}
    assert after["iterations"] == before["iterations"]
    log = (broken / "log.txt").read_text().splitlines()
    first = (whole / "log.txt").read_text().splitlines()
    assert log[: len(first)] == first
    assert len(log) > len(first)


def without(rows: list[dict[str, str]], names: tuple[str, ...]) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in names} for row in rows]


def test_times_and_counts_of_faults_go_on_after_a_resume(tmp_path: Path) -> None:
    config = tiny(total_steps=160, max_env_faults=100)

    def broken() -> Breaks:
        return Breaks(after=11)

    first = train(config, make_env=broken, run_dir=tmp_path / "run", quiet=True).result
    manifest = max((tmp_path / "run" / "checkpoints").glob("[0-9]*")) / "manifest.json"
    saved = json.loads(manifest.read_text())["watchers"]["clock"]
    faults = table(tmp_path / "run", "faults.csv")
    assert len(faults) == first["env_faults"] > 0
    assert "the reactor is on fire" in faults[0]["message"]
    assert faults[0]["kind"] == "env_faults"
    second = resume(tmp_path / "run", make_env=broken, total_steps=320, quiet=True).result
    assert second["train_s"] > saved["trained_s"] - saved["startup_s"]
    assert second["wall_s"] > second["startup_s"] + second["train_s"] - 0.01
    assert second["wall_s"] > first["train_s"] + first["startup_s"]
    assert second["env_steps_per_s"] == pytest.approx(second["env_steps"] / second["train_s"])
    assert len(table(tmp_path / "run", "faults.csv")) == second["env_faults"]


def test_the_log_has_what_was_said_even_if_nothing_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Breaks:
        return Breaks(after=11)

    with pytest.raises(RunError):
        train(tiny(max_env_faults=0), make_env=broken, run_dir=tmp_path / "run", quiet=True)
    assert not capsys.readouterr().out
    *_, last = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert "resume it:" in last
    text = (tmp_path / "run" / "log.txt").read_text()
    assert "error: environments raised" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"progress": {"metrics": {"x": []}}},
        {"progress": {"metrics": {"x": [float("nan")]}}},
        {"progress": {"lengths": []}},
        {"watchers": {"clock": {"trained_s": 1e18}}},
        {"watchers": {"clock": {"startup_s": -1.0}}},
        {"watchers": {"faults": {"processes": {"worker_restarts": "x"}}}},
        {"attributes": {"changes": [[0, [[1, 2]]]]}},
        {"attributes": {"changes": 3}},
    ],
    ids=str,
)
def test_a_manifest_of_another_form_is_refused(
    changes: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run, symlinks=True)
    for manifest in (run / "checkpoints").glob("[0-9]*/manifest.json"):
        content = json.loads(manifest.read_text())
        for group, values in changes.items():
            for name, value in values.items():
                inner = isinstance(content[group][name], dict) and isinstance(value, dict)
                content[group][name] = {**content[group][name], **value} if inner else value
        manifest.write_text(json.dumps(content))
    with pytest.raises(InputError):
        resume(run, make_env=Reports, total_steps=9999, quiet=True)


def test_files_that_cannot_be_written_cost_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    config = tiny(checkpoint_every=0)

    def hinder(iteration: Any) -> None:
        if iteration.progress.iteration == 2:
            for name in ("progress.csv", "log.txt"):
                (run / name).unlink()
                (run / name).mkdir()

    outcome = train(config, make_env=Levels, watchers=[hinder], run_dir=run)
    assert outcome.result["stop_reason"] == "total_steps"
    said = capsys.readouterr().out
    names = "progress.csv, episodes.csv, evaluations.csv, faults.csv"
    assert said.count(f"{names} cannot be written: IsADirectory") == 1
    assert said.count("the log cannot be written: ") == 1


def test_a_table_grows_by_columns_and_forgets_what_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    one = Table(path, ("iteration", "a"), 0)
    one.add([{"iteration": 1, "a": 'x, "y"'}])
    one.add([{"iteration": 2, "b": "z\nz"}, {"iteration": 3, "a": 1}])
    assert table(tmp_path, "table.csv") == [
        {"iteration": "1", "a": 'x, "y"', "b": ""},
        {"iteration": "2", "a": "", "b": "z\nz"},
        {"iteration": "3", "a": "1", "b": ""},
    ]
    Table(path, ("iteration", "a"), 2).add([{"iteration": 3, "b": "again"}])
    assert [row["b"] for row in table(tmp_path, "table.csv")] == ["", "z\nz", "again"]
    Table(path, ("iteration", "a"), 0)
    assert table(tmp_path, "table.csv") == []


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, {}),
        ({"is_success": None}, {}),
        ({"is_success": np.float32(1)}, {"success": 1.0}),
        ({"is_success": [True]}, {"success": 1.0}),
        ({"episode_metrics": {"goals": 3, "pace": np.array(0.5)}}, {"goals": 3.0, "pace": 0.5}),
        ({"episode_metrics": {}, "other": object()}, {}),
    ],
)
def test_numbers_of_every_kind_are_read(info: Mapping[str, Any], expected: Any) -> None:
    assert metrics_of(info, 0) == expected


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"episode_metrics": 3}, r"info\['episode_metrics'\] is 3, not numbers by name"),
        ({"episode_metrics": {3: 4}}, "has the name 3, which is no text"),
        ({"episode_metrics": {"a": "b"}}, "is 'b', which is not a number"),
        ({"episode_metrics": {"a": [1, 2]}}, r"is \[1, 2\], which is not a number"),
        ({"episode_metrics": {"a": math.inf}}, "is inf, which is not finite"),
        ({"episode_metrics": {"r": 1.0}}, "has 'r', which the run uses itself"),
        ({"is_success": "yes"}, r"info\['is_success'\] is 'yes', which is not a number"),
    ],
)
def test_what_is_no_number_is_refused_by_name(info: Mapping[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        metrics_of(info, 0)


def test_the_info_of_a_vector_env_has_an_array_for_each_name() -> None:
    info = {
        "is_success": np.array([True, False, True]),
        "_is_success": np.array([True, True, False]),
        "episode_metrics": {"goals": np.array([1, 2, 3]), "_goals": np.array([True, False, True])},
    }
    ended = np.array([True, True, False])
    assert metrics_by_copy(info, ended) == {0: {"goals": 1, "success": 1}, 1: {"success": 0}}
    assert metrics_by_copy({"lives": np.zeros(3)}, ended) == {}
    # as gymnasium itself joins the infos of copies
    made = gym.vector.SyncVectorEnv([Reports, Reports])
    made.reset(seed=0)
    steps = [made.step(np.zeros(2, int)) for _ in range(5)]
    *_, terminated, _, joined = steps[-1]
    assert metrics_by_copy(joined, terminated) == {
        env: {"twice": 10, "success": 0} for env in (0, 1)
    }


@pytest.mark.parametrize("info", [{"is_success": True}, {"is_success": np.ones(1)}])
def test_an_info_of_another_form_is_refused_by_name(info: Mapping[str, Any]) -> None:
    with pytest.raises(EnvError, match=r"'is_success' in the info is .*has no entry for each copy"):
        metrics_by_copy(info, np.array([False, True]))


def test_only_the_last_step_of_an_episode_reports() -> None:
    envs = Copies([Reports, Reports], "Reports")
    envs.reset([0, 1])
    seen = [envs.step(np.zeros(2, np.int64)).reported for _ in range(6)]
    assert [sorted(one) for one in seen] == [[], [], [], [], [0, 1], []]
