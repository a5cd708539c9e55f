"""Measures of a run directory that a real run wrote, and of episodes worked out by hand."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from distpg import Config, InputError, train
from distpg.commands.push import card_of
from distpg.reproduce.measures import measure
from distpg.results.episodes import (
    Episodes,
    best_evaluation,
    last_training_episodes,
    learning_curve,
    training_episodes,
)
from distpg.run.directory import RunDir

STEPS = 4_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    config = Config(
        num_workers=0,
        num_envs=2,
        num_steps=64,
        num_epochs=1,
        hidden_sizes=(8,),
        compile="off",
        seed=5,
        total_steps=STEPS,
        eval_every=10,
        eval_episodes=2,
    )
    folder = tmp_path_factory.mktemp("runs") / "run"
    return RunDir(train(config, run_dir=folder, quiet=True).run_dir)


def column(run: RunDir, file: str, name: str) -> list[float]:
    with (run.path / file).open(newline="") as rows:
        return [float(row[name]) for row in csv.DictReader(rows) if row[name]]


def test_the_last_episodes_of_training_are_those_of_the_result(run: RunDir) -> None:
    returns = column(run, "episodes.csv", "r")
    assert len(returns) > 100
    found = last_training_episodes(training_episodes(run.path))
    assert found == pytest.approx(sum(returns[-100:]) / 100)
    result = json.loads(run.result.read_text())
    assert found == pytest.approx(result["episode_return_mean"])


def test_the_best_evaluation_is_the_highest_of_its_means(run: RunDir) -> None:
    means = column(run, "evaluations.csv", "return_mean")
    assert len(set(means)) > 1
    best = best_evaluation(run.path)
    assert best is not None
    assert best.return_mean == max(means)


def test_the_curve_is_what_the_run_reported(run: RunDir) -> None:
    curve = learning_curve(training_episodes(run.path), STEPS)
    assert curve.env_steps == tuple(range(40, STEPS + 1, 40))
    steps = column(run, "progress.csv", "env_steps")
    with (run.path / "progress.csv").open(newline="") as rows:
        reported = [row["rollout/ep_rew_mean"] for row in csv.DictReader(rows)]
    for at, value in zip(curve.env_steps, curve.returns, strict=True):
        done = [x for x, y in zip(reported, steps, strict=True) if y <= at]
        expected = float(done[-1]) if done and done[-1] else None
        assert value == (None if expected is None else pytest.approx(expected, abs=1e-3))


def test_a_run_is_measured_with_its_greedy_episodes(run: RunDir) -> None:
    found = measure(run, [1.0, 2.0, 6.0])
    assert found.seed == 5
    assert found.measures["final_greedy"] == 3
    best = best_evaluation(run.path)
    assert best is not None
    assert found.measures["best_evaluation"] == best.return_mean
    assert (found.env_steps >= STEPS, found.stop_reason) == (True, "total_steps")
    assert {"distpg", "torch"} <= found.versions.keys()


def test_a_result_that_is_damaged_or_missing_is_named(run: RunDir, tmp_path: Path) -> None:
    copy = RunDir(shutil.copytree(run.path, tmp_path / "run", symlinks=True))
    copy.result.write_text(copy.result.read_text().replace('"train_s": ', '"train_s": "", "": '))
    damaged = pytest.raises(InputError, match="is not the result of a run: train_s is")
    with damaged:
        measure(copy, [1.0])
    with damaged:
        card_of(copy, "me/x", copy.read_config(), 0, best=False)
    copy.result.unlink()
    with pytest.raises(InputError, match=r"no result\.json"):
        measure(copy, [1.0])


def test_a_curve_by_hand() -> None:
    # two episodes end by step 4, one at 5; of 100 points of 2 steps each the second is step 4
    curve = learning_curve(Episodes([3, 4, 5], [1.0, 3.0, 8.0]), 200)
    assert curve.env_steps[:3] == (2, 4, 6)
    assert curve.returns[:3] == (None, 2.0, 4.0)
    assert set(curve.returns[2:]) == {4.0}
    window = learning_curve(Episodes(range(1, 201), [0.0] * 100 + [1.0] * 100), 200)
    # the last 100 of 150 episodes
    assert window.returns[74] == 0.5
    assert (window.returns[49], window.returns[99]) == (0, 1)


def test_a_run_without_episodes_has_no_return(tmp_path: Path) -> None:
    assert last_training_episodes(Episodes([], [])) is None
    assert set(learning_curve(Episodes([], []), 100).returns) == {None}
    with pytest.raises(InputError, match=r"episodes\.csv cannot be read"):
        training_episodes(tmp_path)
