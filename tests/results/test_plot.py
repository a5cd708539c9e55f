"""`plot`: points against those worked out by hand, groups and their names, real figures."""

import csv
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distpg.cli import main
from distpg.results.figure import COLORS, spread
from tests.results.short import column, last, short_run, write_events, write_monitor
from tests.test_cli import assert_refused

SEEDS = range(5)
RETURN = "rollout/ep_rew_mean"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seeds of PPO, two of REINFORCE, and one of PPO with another learning rate."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in SEEDS:
        short_run(folder / "ppo" / f"seed-{seed}", seed=seed, eval_every=3, eval_episodes=2)
    for seed in (0, 1):
        short_run(folder / "a2c" / f"seed-{seed}", seed=seed, algo="a2c")
    short_run(folder / "fast", learning_rate=0.01)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def points(*words: object) -> dict[str, list[dict[str, str]]]:
    """Return the rows of the CSV that a command writes, by group."""
    assert main(["plot", *map(str, words), "--out", "points.csv"]) == 0
    with Path("points.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    groups = dict.fromkeys(row["group"] for row in rows)
    return {group: [row for row in rows if row["group"] == group] for group in groups}


def value_at(run: Path, tag: str, steps: float) -> float:
    """Return the value of a run there, by hand: on the line between the points around it."""
    rows = zip(*(column(run, "progress.csv", name) for name in ("env_steps", tag)), strict=True)
    known = [(x, y) for x, y in rows if x is not None and y is not None]
    x0, y0 = max(point for point in known if point[0] <= steps)
    x1, y1 = min(point for point in known if point[0] >= steps)
    return y0 if x0 == x1 else y0 + (y1 - y0) * (steps - x0) / (x1 - x0)


def test_a_curve_is_the_mean_of_the_middle_three_of_five_seeds(runs: Path) -> None:
    (rows,) = points(runs / "ppo").values()
    assert len(rows) == 200
    assert {(row["env_id"], row["group"], row["runs"]) for row in rows} == {
        ("CartPole-v1", "ppo", "5")
    }
    ends = [last(runs / "ppo" / f"seed-{seed}", "env_steps") for seed in SEEDS]
    assert float(rows[-1]["env_steps"]) == min(ends)
    for row in rows[::20] + rows[-1:]:
        at = float(row["env_steps"])
        of_seeds = sorted(value_at(runs / "ppo" / f"seed-{x}", RETURN, at) for x in SEEDS)
        assert float(row["value"]) == pytest.approx(sum(of_seeds[1:4]) / 3, rel=1e-6)
        low, high = float(row["low"]), float(row["high"])
        assert of_seeds[0] <= low <= float(row["value"]) <= high <= of_seeds[-1]


def test_runs_are_one_curve_if_only_their_seeds_differ_and_names_say_what_else_does(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert points(runs).keys() == {
        "a2c",
        "ppo, eval_every=0, eval_episodes=10, learning_rate=0.01",
        "ppo, eval_every=3, eval_episodes=2, learning_rate=0.0003",
    }
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith(
        "an interval of 2 runs is too narrow: it holds the true value in about 50%"
    )
    grouped = points(runs, "--by", "algo")
    assert {group: rows[0]["runs"] for group, rows in grouped.items()} == {"a2c": "2", "ppo": "6"}
    said = capsys.readouterr()
    assert "CartPole-v1, ppo: it has several runs of seed 0" in said.err
    assert "its runs differ in eval_every, eval_episodes, learning_rate" in said.err
    (line,) = [line for line in said.out.splitlines() if " ppo " in line]
    end = float(grouped["ppo"][-1]["value"])
    assert line.split()[2] == "6"
    assert f"{end:.1f}" in line
    assert said.out.endswith("the curves: points.csv\n")


def test_a_run_alone_has_its_own_points_and_no_interval(runs: Path) -> None:
    (rows,) = points(runs / "fast", "--x", "time", "--y", "train/approx_kl").values()
    seconds = column(runs / "fast", "progress.csv", "time/time_elapsed")
    values = column(runs / "fast", "progress.csv", "train/approx_kl")
    assert [float(row["seconds"]) for row in rows] == pytest.approx(seconds)
    assert [float(row["value"]) for row in rows] == pytest.approx(values)
    assert {(row["low"], row["high"]) for row in rows} == {("", "")}


def test_evaluations_are_at_the_steps_of_their_policy(runs: Path) -> None:
    run = runs / "ppo" / "seed-0"
    (rows,) = points(run, "--y", "eval/mean_reward").values()
    steps = column(run, "evaluations.csv", "env_steps")
    assert len(steps) > 1
    assert [float(row["env_steps"]) for row in rows] == pytest.approx(steps)
    returns = column(run, "evaluations.csv", "return_mean")
    assert [float(row["value"]) for row in rows] == pytest.approx(returns)


def test_a_shorter_run_ends_the_curve_and_is_named(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1, 2):
        shutil.copytree(runs / "ppo" / f"seed-{seed}", tmp_path / f"seed-{seed}", symlinks=True)
    file = tmp_path / "seed-1" / "progress.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:5]))
    empty = tmp_path / "seed-2" / "progress.csv"
    empty.write_text(empty.read_text().splitlines(keepends=True)[0])
    (rows,) = points(tmp_path).values()
    assert float(rows[-1]["env_steps"]) == last(tmp_path / "seed-1", "env_steps")
    assert rows[0]["runs"] == "2"
    said = capsys.readouterr().err
    assert f"the curve ends where its shortest run ends, {tmp_path / 'seed-1'}" in said
    assert f"{tmp_path / 'seed-2'}: left out, it has no rollout/ep_rew_mean yet" in said


def test_events_of_stable_baselines3_are_read_beside_ours(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_events(tmp_path / "tb" / "PPO_1", RETURN, [(100, 10.0), (200, 20.0), (300, 30.0)])
    write_events(tmp_path / "tb" / "PPO_2", RETURN, [(100, 14.0), (200, 26.0), (300, 38.0)])
    found = points(tmp_path / "tb", runs / "ppo")
    assert found.keys() == {"SB3 PPO", "ppo"}
    rows = found["SB3 PPO"]
    assert {(row["env_id"], row["runs"]) for row in rows} == {("CartPole-v1", "2")}
    values = {float(row["env_steps"]): float(row["value"]) for row in rows}
    assert (values[100], values[300]) == (12, 34)
    assert "PPO_1: its files do not name the environment; taken for CartPole-v1" in (
        capsys.readouterr().err
    )
    (rows,) = points(tmp_path / "tb" / "PPO_1", "--x", "time").values()
    assert [(float(row["seconds"]), float(row["value"])) for row in rows] == [
        *((10, 10), (12, 20), (14, 30))
    ]
    assert rows[0]["env_id"] == ""


def test_monitors_of_stable_baselines3_are_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "ppo" / "CartPole-v1_1"
    folder.mkdir(parents=True)
    # the second began a second later
    write_monitor(folder / "0.monitor.csv", "CartPole-v1", 50.0, [(10, 10, 1.5), (30, 30, 4)])
    write_monitor(folder / "1.monitor.csv", "CartPole-v1", 51.0, [(20, 20, 1)])
    (rows,) = points(tmp_path, "--x", "time").values()
    assert [(float(row["seconds"]), float(row["value"])) for row in rows] == [
        *((1.5, 10), (2, 15), (4, 20))
    ]
    (rows,) = points(tmp_path).values()
    assert [float(row["env_steps"]) for row in rows] == [10, 30, 60]
    assert (rows[0]["env_id"], rows[0]["group"]) == ("CartPole-v1", "SB3 CartPole-v1")


def has_color(image: Image.Image, color: str) -> bool:
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.asarray(image.convert("RGB")) == wanted).all(2).sum()) > 100


def test_a_figure_has_its_size_and_a_color_for_each_group(runs: Path) -> None:
    assert main(["plot", str(runs), "--by", "algo"]) == 0
    with Image.open("curves.png") as image:
        assert image.format == "PNG"
        assert image.size == (960, 570)
        assert [has_color(image, color) for color in COLORS[:3]] == [True, True, False]
    before = Path("curves.png").read_bytes()
    assert main(["plot", str(runs), "--by", "algo"]) == 0
    assert Path("curves.png").read_bytes() == before


def test_an_svg_and_a_panel_for_each_environment(runs: Path, tmp_path: Path) -> None:
    write_events(tmp_path / "tb" / "PPO_1", RETURN, [(100, 10.0), (200, 20.0)])
    short_run(tmp_path / "acrobot", env_id="Acrobot-v1", total_steps=1200)
    words = [str(runs), str(tmp_path / "acrobot"), str(tmp_path / "tb"), "--out", "x/a.svg"]
    assert main(["plot", *words]) == 0
    root = ET.parse("x/a.svg").getroot()
    assert root.tag.endswith("svg")
    assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(72 * 4.6 * 3)


def test_names_are_moved_apart_as_little_as_need_be() -> None:
    assert spread([0.5], [0.1]) == [0.5]
    assert spread([0.2, 0.8], [0.1, 0.1]) == [0.2, 0.8]
    assert spread([0.5, 0.5], [0.1, 0.3]) == pytest.approx([0.4, 0.6])
    assert spread([0.55, 0.1, 0.5], [0.1, 0.1, 0.1]) == pytest.approx([0.575, 0.1, 0.475])
    assert spread([1.2, 0.98], [0.1, 0.1]) == pytest.approx([1.0, 0.9])


def test_what_cannot_be_drawn_is_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "monitor.csv").write_text("r,l,t\n1,2,3\n")
    run = str(runs / "fast")
    for words, offenders in (
        ([], ["runs does not exist"]),
        (["nowhere"], ["nowhere does not exist"]),
        (["empty"], ["empty is neither a run nor a folder of runs", "Stable-Baselines3"]),
        (["."], ["monitor.csv is not the file of a Monitor"]),
        ([run, "--by", "colour"], ["--by: 'colour' is not a setting"]),
        ([run, "--by", "learning-rat"], ["did you mean learning_rate"]),
        ([run, "--y", "train/aprox_kl"], ["--y: no run has", "did you mean train/approx_kl"]),
        ([run, "--out", "x/progress.csv"], ["--out: 'x/progress.csv'", "a file of a run"]),
        ([run, "--out", "a.pdf"], ["--out: 'a.pdf'", ".png, .svg, .csv"]),
        ([run, "--out", "monitor.csv/a.png"], ["--out: monitor.csv/a.png cannot be written"]),
        ([run, "--x", "epochs"], ["epochs"]),
    ):
        assert_refused(["plot", *words], offenders, capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "monitor.csv"]
