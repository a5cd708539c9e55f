"""Evaluations beside training: when a result takes effect, and what a resumed run does."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from distpg import Interrupted, Outcome, Response, evaluate, resume, train
from distpg.iteration import Iteration
from distpg.run.checkpoint import list_checkpoints, load_checkpoint
from distpg.run.directory import RunDir
from tests.settings import config_of

SMALL: dict[str, Any] = {
    "num_workers": 0,
    "num_slots": 2,
    "num_envs": 2,
    "num_steps": 16,
    "minibatch_size": 32,
    "hidden_sizes": (8,),
    "num_epochs": 3,
    "learning_rate": 0.02,
    "total_steps": 11 * 64,
    "eval_every": 3,
    "eval_episodes": 3,
    "checkpoint_every": 1,
    "keep_checkpoints": 1,
}


def run(folder: Path, *watchers: Any, **changes: Any) -> Outcome:
    config = config_of({**SMALL, **changes})
    return train(config, watchers=watchers, run_dir=folder, quiet=True)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "evaluations.csv").open() as file:
        return list(csv.DictReader(file))


def course(folder: Path) -> tuple[Any, ...]:
    """Return all that two runs have in common that took the same course."""
    result = json.loads((folder / "result.json").read_text())
    best = (folder / "checkpoints" / "best").resolve()
    return (
        (folder / "policy.safetensors").read_bytes(),
        rows(folder),
        best.name,
        load_checkpoint(best).best_return,
        result["evaluation"],
        result["best_evaluation"],
        result["rollbacks"],
    )


@pytest.mark.parametrize(
    ("delay", "effect"),
    [(None, {6: 3, 9: 6, 12: 9}), (1, {4: 3, 7: 6, 10: 9}), (2, {5: 3, 8: 6, 11: 9})],
)
def test_a_result_is_part_of_the_iteration_that_is_its_delay_later(
    delay: int | None, effect: dict[int, int], tmp_path: Path
) -> None:
    seen: dict[int, Any] = {}

    def note(iteration: Iteration) -> None:
        if iteration.evaluation:
            seen[iteration.progress.iteration] = iteration.evaluation.iteration

    outcome = run(tmp_path / "run", note, eval_delay=delay)
    assert seen == effect
    # those that are under way or due at the end are waited for
    assert [int(row["iteration"]) for row in rows(outcome.run_dir)] == [3, 6, 9, 12]
    assert outcome.result["evaluation"]["iteration"] == 12


@pytest.mark.thorough
def test_results_depend_neither_on_the_delay_nor_on_the_workers(
    callers_ray: None, tmp_path: Path
) -> None:
    courses = [
        run(tmp_path / f"{delay} {workers}", eval_delay=delay, num_workers=workers).run_dir
        for delay, workers in ((1, 0), (3, 2), (2, 1))
    ]
    names = ("iteration", "env_steps", "return_mean", "return_std", "length_mean")
    found = [[[row[name] for name in names] for row in rows(folder)] for folder in courses]
    assert found[0] == found[1] == found[2]
    assert len({row[2] for row in found[0]}) > 1, "all policies are alike"
    policies = {(folder / "policy.safetensors").read_bytes() for folder in courses}
    assert len(policies) == 1


@pytest.mark.parametrize(
    ("every", "delay"), [(3, None), pytest.param(4, 2, marks=pytest.mark.thorough)]
)
@pytest.mark.parametrize("by_signal", [False, True])
def test_a_run_that_was_stopped_under_an_evaluation_takes_the_course_of_one_that_was_not(
    every: int, delay: int | None, by_signal: bool, tmp_path: Path
) -> None:
    # a result decides on the weights, too
    changes = {"eval_every": every, "eval_delay": delay, "rollback_on_collapse": 0.05}
    whole = course(run(tmp_path / "whole", **changes).run_dir)
    assert whole[-1] > 0, "nothing was rolled back"
    for at in (3, 4, 5, 7):

        def stop(iteration: Iteration, at: int = at) -> Response | None:
            if iteration.progress.iteration != at:
                return None
            if by_signal:
                signal.raise_signal(signal.SIGINT)
                return None
            return Response(stop="enough")

        folder = tmp_path / str(at)
        try:
            run(folder, stop, **changes)
        except Interrupted:
            assert by_signal
        resume(folder, quiet=True)
        assert course(folder) == whole, f"stopped after iteration {at}"


def test_a_policy_under_evaluation_is_kept_and_the_best_is_found_later(tmp_path: Path) -> None:
    outcome = run(tmp_path / "run", eval_every=3, eval_delay=2, eval_episodes=8)
    best = outcome.result["best_evaluation"]
    table = {int(row["env_steps"]): float(row["return_mean"]) for row in rows(outcome.run_dir)}
    assert best == {
        "return_mean": max(table.values()),
        "env_steps": max(table, key=table.__getitem__),
    }
    folder = (outcome.run_dir / "checkpoints" / "best").resolve()
    assert int(folder.name) == best["env_steps"]
    assert load_checkpoint(folder).best_return == best["return_mean"]
    latest = (outcome.run_dir / "checkpoints" / "latest").resolve()
    assert [*list_checkpoints(RunDir(outcome.run_dir))][-1] == latest
    assert int(latest.name) == outcome.result["env_steps"]
    assert len(evaluate(outcome.run_dir, checkpoint="best", episodes=2).returns) == 2


def test_a_watcher_may_ask_for_an_evaluation_which_a_resumed_run_still_plays(
    tmp_path: Path,
) -> None:
    def ask(iteration: Iteration) -> Response:
        number = iteration.progress.iteration
        return Response(evaluate=number == 4, stop="pause" if number == 4 else "")

    changes = {"eval_every": 0, "eval_delay": 3}
    folder = run(tmp_path / "run", ask, **changes).run_dir
    assert [int(row["iteration"]) for row in rows(folder)] == [4]
    seen: list[tuple[int, Any]] = []

    def note(iteration: Iteration) -> None:
        if iteration.evaluation:
            seen.append((iteration.progress.iteration, iteration.evaluation.iteration))

    before = rows(folder)
    resume(folder, watchers=[note], quiet=True)
    assert seen == [(7, 4)]
    assert rows(folder) == before


def test_what_is_asked_for_under_an_evaluation_begins_after_it(tmp_path: Path) -> None:
    seen: list[tuple[int, Any]] = []

    def ask(iteration: Iteration) -> Response:
        if iteration.evaluation:
            seen.append((iteration.progress.iteration, iteration.evaluation.iteration))
        return Response(evaluate=iteration.progress.iteration <= 4)

    run(tmp_path / "run", ask, eval_every=0, eval_delay=3)
    assert seen == [(4, 1), (7, 4)]


def stop_at_4(iteration: Iteration) -> Response:
    return Response(stop="enough" if iteration.progress.iteration == 4 else "")


def test_an_evaluation_is_played_again_from_a_checkpoint_of_format_6(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", stop_at_4).run_dir
    file = folder / "checkpoints" / "latest" / "manifest.json"
    manifest = json.loads(file.read_text())
    candidate = manifest.pop("candidate")
    assert candidate["iteration"] == 3
    file.write_text(json.dumps({**manifest, "format": 6, "candidates": [candidate]}))
    resume(folder, quiet=True)
    assert [int(row["iteration"]) for row in rows(folder)] == [3, 6, 9, 12]


def test_a_damaged_candidate_costs_its_evaluation_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path / "run", stop_at_4).run_dir
    latest = (folder / "checkpoints" / "latest").resolve()
    candidate = load_checkpoint(latest, to_resume=True).candidate
    assert candidate is not None
    assert candidate.iteration == 3
    (
        folder / "checkpoints" / f"{candidate.checkpoint.progress.env_steps:012d}" / "manifest.json"
    ).unlink()
    assert resume(folder).result["stop_reason"] == "total_steps"
    assert "an evaluation that was under way is left out: " in capsys.readouterr().out
    assert [int(row["iteration"]) for row in rows(folder)] == [6, 9, 12]
