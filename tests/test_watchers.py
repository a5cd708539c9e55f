"""Watchers from users: what they see, what they can ask for, and what becomes of their errors."""

import json
import math
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import distpg
from distpg import Config, Iteration, Outcome, Response, RunError, Watcher, resume, train
from distpg.errors import InputError
from distpg.iteration import Evaluation
from distpg.progress import Progress
from distpg.report.stopping import StopAfter, StopAtEvaluation, StopOnPlateau
from distpg.run.given_watchers import find_watchers
from tests.environments import Breaks, Counting, Levels
from tests.iterations import iteration_of
from tests.settings import config_of

TINY: dict[str, Any] = {
    "num_workers": 0,
    "num_slots": 2,
    "num_envs": 2,
    "num_steps": 8,
    "minibatch_size": 16,
    "num_epochs": 1,
    "hidden_sizes": (8,),
    "total_steps": 320,
    "checkpoint_every": 1,
    "keep_checkpoints": 99,
}


def tiny(**changes: Any) -> Config:
    return config_of({**TINY, **changes})


def policy_of(outcome: Outcome) -> bytes:
    return (outcome.run_dir / "policy.safetensors").read_bytes()


def scalars_of(run: Path, tag: str) -> list[float]:
    events = EventAccumulator(str(run), {"scalars": 0}).Reload()
    return [event.value for event in events.Scalars(tag)]


class Sized(Levels):
    """Offers a state of as many numbers as it is told."""

    size = 2

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "cells": np.zeros(self.size)}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if len(state["cells"]) != self.size:
            raise ValueError("a state of another size")


class Climb(Watcher):
    """Raises the level of the environments with every iteration."""

    def __init__(self) -> None:
        self.level = 0

    def on_iteration(self, iteration: Iteration) -> Response:
        self.level += 1
        return Response(
            scalars={"curriculum/level": self.level},
            env={"level": self.level},
            eval_env={"level": 100},
        )

    def state(self) -> dict[str, Any]:
        return {"level": self.level}

    def load(self, state: Any) -> None:
        self.level = state["level"]


class Raises(Watcher):
    """Raises at the third iteration."""

    def __init__(self, *, required: bool = True) -> None:
        self.required = required

    def on_iteration(self, iteration: Iteration) -> None:
        if iteration.progress.iteration == 3:
            raise ValueError("no such thing")


def test_a_function_sees_each_iteration_and_its_scalars_are_logged(tmp_path: Path) -> None:
    seen: list[Iteration] = []

    def watch(iteration: Iteration) -> dict[str, float]:
        seen.append(iteration)
        return {"mine/double": 2.0 * iteration.progress.iteration}

    outcome = train(
        tiny(), make_env=Counting, watchers=[watch], run_dir=tmp_path / "run", quiet=True
    )
    count = outcome.result["iterations"]
    assert [iteration.progress.iteration for iteration in seen] == [*range(1, count + 1)]
    assert scalars_of(outcome.run_dir, "mine/double") == [2.0 * n for n in range(1, count + 1)]
    last = seen[-1].scalars
    assert last["rollout/ep_rew_mean"] == outcome.result["episode_return_mean"]
    assert last["train/approx_kl"] == scalars_of(outcome.run_dir, "train/approx_kl")[-1]


def test_a_watcher_may_ask_for_the_end_and_for_a_checkpoint(tmp_path: Path) -> None:
    def watch(iteration: Iteration) -> Response:
        number = iteration.progress.iteration
        return Response(stop="that will do" if number == 4 else "", checkpoint=number == 2)

    config = tiny(checkpoint_every=0)
    outcome = train(
        config, make_env=Counting, watchers=[watch], run_dir=tmp_path / "run", quiet=True
    )
    assert outcome.result["stop_reason"] == "that will do"
    assert outcome.result["iterations"] == 4
    assert outcome.exit_code == 0
    saved = [
        json.loads((folder / "manifest.json").read_text())["progress"]["iteration"]
        for folder in sorted((outcome.run_dir / "checkpoints").glob("[0-9]*"))
    ]
    assert saved == [2, 4]


@pytest.mark.parametrize("overlap", [False, True])
def test_attributes_hold_from_the_next_rollouts_that_have_not_begun(
    overlap: bool, tmp_path: Path
) -> None:
    # every step pays the level, so the mean of a batch is the level of its rollouts
    levels: list[float] = []
    evaluated: list[float] = []

    def note(iteration: Iteration) -> None:
        (one,) = {*iteration.collection.rollouts[0].rewards[:, 0]} - {0.0} or {0.0}
        levels.append(float(one))
        if iteration.evaluation:
            evaluated.append(iteration.evaluation.mean_return)

    config = tiny(overlap=overlap, eval_every=1, eval_episodes=1, algo="ppo")
    train(
        config,
        make_env=Levels,
        watchers=[Climb, note],
        run_dir=tmp_path / "run",
        quiet=True,
    )
    # after iteration k the level is k; with overlap iteration k + 1 has begun by then
    behind = 1 + overlap
    assert levels == [max(0, number - behind) for number in range(1, len(levels) + 1)]
    # episodes of 5 steps; the first evaluation begins after the first iteration's watchers
    assert evaluated == [500] * (len(levels) - 1)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_resumed_run_has_the_attributes_of_one_that_was_not_stopped(
    overlap: bool, tmp_path: Path
) -> None:
    config = tiny(overlap=overlap)
    whole = train(config, make_env=Levels, watchers=[Climb], run_dir=tmp_path / "whole", quiet=True)
    shutil.copytree(whole.run_dir, tmp_path / "broken", symlinks=True)
    for later in sorted((tmp_path / "broken" / "checkpoints").glob("[0-9]*"))[3:]:
        shutil.rmtree(later)
    resumed = resume(tmp_path / "broken", make_env=Levels, watchers=[Climb], quiet=True)
    assert resumed.result["episode_return_mean"] == whole.result["episode_return_mean"]
    assert policy_of(resumed) == policy_of(whole)


@pytest.mark.parametrize(
    ("make_env", "attribute", "message"),
    [
        (Levels, "gravity", "a watcher set gravity, which the environment does not have"),
        (Levels, "guarded", "a watcher set guarded of the environment to 1: ValueError: hands off"),
        (None, "gravity", "a watcher set gravity, but CartPole-v1 is vectorized natively"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(
    make_env: Any, attribute: str, message: str, tmp_path: Path
) -> None:
    def watch(iteration: Iteration) -> Response:
        return Response(env={attribute: 1})

    with pytest.raises(RunError, match=message):
        train(tiny(), make_env=make_env, watchers=[watch], run_dir=tmp_path / "run", quiet=True)


class Sleeps(Levels):
    """Takes a minute for being set."""

    @property
    def lazy(self) -> int:
        return 0

    @lazy.setter
    def lazy(self, value: int) -> None:
        time.sleep(60)


def test_an_attribute_that_cannot_be_set_in_time_is_refused(tmp_path: Path) -> None:
    def watch(iteration: Iteration) -> Response:
        return Response(env={"lazy": 1})

    with pytest.raises(RunError, match=r"setting lazy in a copy .* within --phase-timeout 1 s"):
        train(
            tiny(phase_timeout=1.0),
            make_env=Sleeps,
            watchers=[watch],
            run_dir=tmp_path / "run",
            quiet=True,
        )


def test_an_environment_that_replaces_a_broken_one_has_its_attributes() -> None:
    from distpg.envs.guard import Guard

    guard = Guard(Levels)
    guard.reset(0)
    guard.set_attributes({"level": 7})
    assert guard.step(1).reward == 7
    guard.env.step = None  # type: ignore[assignment, method-assign]
    assert guard.step(1).fault
    assert guard.step(1).reward == 7


def test_ctrl_c_ends_the_run_saved_and_a_loop_over_seeds(tmp_path: Path) -> None:
    def press(iteration: Iteration) -> None:
        if iteration.progress.iteration == 2:
            signal.raise_signal(signal.SIGINT)

    config = tiny(checkpoint_every=0)

    def train_all() -> None:
        for seed in range(3):
            train(
                replace(config, seed=seed),
                make_env=Counting,
                watchers=[press],
                run_dir=tmp_path / str(seed),
                quiet=True,
            )

    with pytest.raises(KeyboardInterrupt, match="was stopped and is saved") as caught:
        train_all()
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert isinstance(caught.value, distpg.Interrupted)
    assert caught.value.outcome.result["stop_reason"] == "interrupted"
    assert caught.value.outcome.result["iterations"] == 2
    assert resume(tmp_path / "0", make_env=Counting, quiet=True).result["iterations"] > 2


def test_an_error_of_a_watcher_names_it_and_ends_the_run_saved(tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = tiny(checkpoint_every=0)
    with pytest.raises(RunError, match=r"watcher tests.test_watchers:Raises, iteration 3: Value"):
        train(config, make_env=Levels, watchers=[Raises()], run_dir=run, quiet=True)
    result = json.loads((run / "result.json").read_text())
    assert result["stop_reason"] == "error"
    assert "no such thing (test_watchers.py, line " in result["error"]
    assert result["iterations"] == 3
    resumed = resume(run, make_env=Levels, quiet=True)
    whole = train(config, make_env=Levels, run_dir=tmp_path / "whole", quiet=True)
    assert policy_of(resumed) == policy_of(whole)


def test_a_watcher_may_change_what_it_answered_with(tmp_path: Path) -> None:
    class Grows(Watcher):
        level: ClassVar[list[int]] = []

        def on_iteration(self, iteration: Iteration) -> Response:
            self.level.append(iteration.progress.iteration)
            return Response(env={"level_of": self.level})

    seen: list[Any] = []

    class Notes(Levels):
        level_of: ClassVar[list[int]] = []

        def step(self, action: Any) -> Any:
            seen.append([*self.level_of])
            return super().step(action)

    train(
        tiny(num_slots=1, num_envs=1, minibatch_size=8),
        make_env=Notes,
        watchers=[Grows],
        run_dir=tmp_path / "run",
        quiet=True,
    )
    assert [] in seen
    assert [1] in seen
    assert [1, 2] in seen


def test_an_attribute_that_shapes_the_state_is_set_before_it_is_restored(tmp_path: Path) -> None:
    config = tiny(num_slots=1)

    def widen(iteration: Iteration) -> Response:
        return Response(env={"size": 3})

    whole = train(config, make_env=Sized, watchers=[widen], run_dir=tmp_path / "whole", quiet=True)
    shutil.copytree(whole.run_dir, tmp_path / "broken", symlinks=True)
    for later in sorted((tmp_path / "broken" / "checkpoints").glob("[0-9]*"))[4:]:
        shutil.rmtree(later)
    resumed = resume(tmp_path / "broken", make_env=Sized, watchers=[widen], quiet=True)
    assert policy_of(resumed) == policy_of(whole)


def test_watchers_are_told_of_every_end(tmp_path: Path) -> None:
    told: list[str] = []

    class Told(Watcher):
        def end(self, result: Any) -> None:
            told.append(result["stop_reason"])

    def refused(iteration: Iteration) -> Response:
        return Response(env={"gravity": 1})

    config = tiny()
    train(config, make_env=Levels, watchers=[Told], run_dir=tmp_path / "a", quiet=True)
    with pytest.raises(RunError):
        train(config, make_env=Levels, watchers=[Told, refused], run_dir=tmp_path / "b", quiet=True)
    with pytest.raises(RunError):
        train(
            replace(config, max_env_faults=0),
            make_env=lambda: Breaks(after=20),
            watchers=[Told],
            run_dir=tmp_path / "c",
            quiet=True,
        )
    assert told == ["total_steps", "error", "error"]
    # what was refused is in no checkpoint
    assert resume(tmp_path / "b", make_env=Levels, quiet=True).result["iterations"] > 2


def test_a_watcher_that_could_not_begin_is_not_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Watcher):
        required = False

        def begin(self, run: Any) -> None:
            raise OSError("no network")

    outcome = train(tiny(), make_env=Levels, watchers=[Broken], run_dir=tmp_path / "run")
    assert outcome.result["watcher_errors"] == 1
    assert capsys.readouterr().out.count("no network") == 1


def test_an_error_of_a_watcher_that_is_not_required_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = train(
        tiny(), make_env=Counting, watchers=[Raises(required=False)], run_dir=tmp_path / "run"
    )
    assert outcome.result["stop_reason"] == "total_steps"
    assert outcome.result["watcher_errors"] == 1
    assert scalars_of(outcome.run_dir, "faults/watcher_errors")[:2] == [0, 1]
    said = capsys.readouterr().out
    assert "watcher tests.test_watchers:Raises, iteration 3: ValueError: no such thing" in said


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (3, "it returned 3, not scalars by tag, a Response or None"),
        ({"a": "high"}, "it returned 'a': 'high', which is no scalar"),
        (Response(stop=True), "stop is True; give a reason, as text"),  # type: ignore[arg-type]
        (Response(env={"a": math.nan}), "not JSON compliant"),
        (Response(env={"a": object()}), "not JSON serializable"),
    ],
)
def test_an_answer_of_another_form_is_an_error_of_the_watcher(
    answer: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=message):
        train(
            tiny(),
            make_env=Counting,
            watchers=[lambda iteration: answer],
            run_dir=tmp_path / "run",
            quiet=True,
        )


def test_watchers_of_the_settings_come_first_and_each_has_a_name_of_its_own() -> None:
    written = ['distpg:StopAfter{"seconds": 5}', 'distpg:StopAfter{"seconds": 6}']
    found = find_watchers(written, [Climb, Climb()])
    assert [*found] == [
        "distpg.report.stopping:StopAfter",
        "distpg.report.stopping:StopAfter #2",
        "tests.test_watchers:Climb",
        "tests.test_watchers:Climb #2",
    ]
    with pytest.raises(InputError, match=r"watchers: 3 is no distpg\.Watcher"):
        find_watchers([], [3])  # type: ignore[list-item]


def after(iteration: int, **scalars: float) -> Iteration:
    found = iteration_of(Progress(iteration=iteration))
    return found.adding(scalars)


def test_a_plateau_is_counted_in_values_and_goes_on_after_a_resume() -> None:
    watcher = StopOnPlateau(patience=3, min_gain=1.0, tag="x")
    # 2.5 is no gain of 1 over 2, and 4 is
    values = [1.0, 2.1, 2.5, math.nan, 4.0, 4.1, 4.2]
    assert [watcher.on_iteration(after(n, x=x)) for n, x in enumerate(values)] == [None] * 7
    other = StopOnPlateau(patience=3, min_gain=1.0, tag="x")
    other.load(json.loads(json.dumps(watcher.state())))
    assert other.on_iteration(after(8)) is None, "without the scalar nothing is counted"
    answer = other.on_iteration(after(9, x=5.0))
    assert answer is not None
    assert answer.stop.startswith("plateau: x has not exceeded 4")


def test_seconds_of_training_end_a_run_and_those_before_a_resume_count(tmp_path: Path) -> None:
    watcher = StopAfter(10)
    assert watcher.on_iteration(after(1, **{"time/time_elapsed": 9.9})) is None
    assert watcher.on_iteration(after(2, **{"time/time_elapsed": 10})) == Response(
        stop="max_seconds"
    )
    config = tiny(max_seconds=1e-9)
    first = train(config, make_env=Levels, run_dir=tmp_path / "run", quiet=True).result
    assert (first["stop_reason"], first["iterations"]) == ("max_seconds", 1)
    second = resume(tmp_path / "run", make_env=Levels, max_seconds=1e4, quiet=True).result
    assert second["stop_reason"] == "total_steps"
    with_limit = resume(
        tmp_path / "run", make_env=Levels, total_steps=9999, max_seconds=1e-9, quiet=True
    ).result
    assert with_limit["iterations"] == second["iterations"] + 1


def test_a_run_stops_at_the_return_of_an_evaluation(tmp_path: Path) -> None:
    config = tiny(eval_every=2, eval_episodes=1, stop_at_eval_return=-1e9)
    outcome = train(config, make_env=Counting, run_dir=tmp_path / "run", quiet=True)
    assert outcome.result["stop_reason"] == "eval_return"
    assert outcome.result["iterations"] == 4
    watcher = StopAtEvaluation(3.0)
    evaluation = Evaluation([2.0, 3.9], [1, 1])
    found = replace(after(1), evaluation=evaluation)
    assert watcher.on_iteration(found) is None
