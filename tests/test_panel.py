"""The panel of a run, by hand: in any width nothing is cut off."""

import dataclasses
import io
import time
from typing import Any

import pytest
from rich.console import Console

from distpg.config.config import Config
from distpg.iteration import Evaluation, ProcessFaults, Update
from distpg.progress import Progress
from distpg.report.clock import Clock
from distpg.report.panel import RunState, panel, rows_of, text_width
from distpg.report.tracker import Tracker
from tests.iterations import iteration_of

FAULT = "slot 0, env 1, step 12 of iteration 3: ValueError: the reactor of the plant is on fire"
STATE = RunState(
    counts=["iteration 12", "12,124 of 1,000,000 env steps", "10,427 steps/s"],
    returns=[0.0, 2.0] * 50,
    target=475,
    curve=[0, 1, 2, 3, 4, 5, 6, 7],
    elapsed_s=83.4,
    left=[(95.0, "all steps"), (6.2, "return 475, extrapolated")],
    evaluation=(478.7, 50),
    evaluates=True,
    scalars={
        "train/approx_kl": 0.00812,
        "train/entropy_loss": -0.612,
        "train/explained_variance": 0.34,
        "train/loss": 17.0,
    },
    spent_s={
        "stepping": 3.0,
        "acting": 1.6,
        "broadcast": 0.6,
        "transfer": 0.6,
        "preparation": 0.4,
        "epochs": 3.6,
        "watchers": 0.2,
    },
    workers=(1, 2),
    restarts=1,
    last_fault=FAULT,
)
IN_80 = """\
╭─ ppo · CartPole-v1 · seed 0 ─────────────────────────────────────────────────╮
│ return      1.00 ± 0.20   target 475   ▁▂▃▄▅▆▇█                              │
│ progress    iteration 12   12,124 of 1,000,000 env steps   10,427 steps/s    │
│ time        elapsed 0:01:23   ETA 0:00:06 (return 475, extrapolated)         │
│ evaluation  478.7   after iteration 50                                       │
│ update      KL 0.00812   entropy 0.612   explained variance 0.34             │
│ time spent  stepping 30%   acting 16%   broadcast 6%   transfer 6%           │
│             preparation 4%   epochs 36%   watchers 2%                        │
│ workers     1 of 2 alive   1 replaced                                        │
│ last fault  slot 0, env 1, step 12 of iteration 3: ValueError: the reactor   │
│             of the plant is on fire                                          │
╰──────────────────────────────────────────────────────────────────────────────╯
"""


def drawn(state: RunState, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, soft_wrap=True)
    rows = rows_of(state, text_width(width))
    console.print(panel("ppo · CartPole-v1 · seed 0", rows, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_panel_of_80_columns() -> None:
    assert drawn(STATE, 80) == IN_80


@pytest.mark.parametrize("width", [30, 40, 80, 120])
def test_in_any_width_the_frame_fits_and_every_word_is_there(width: int) -> None:
    lines = drawn(STATE, width).splitlines()
    assert {len(line) for line in lines} == {width}
    inner = [line[2:-2] for line in lines[1:-1]]
    words = " ".join(line[12:] for line in inner).split()
    assert words == [
        word
        for _, parts in rows_of(STATE, text_width(width))
        for part in parts
        for word in part.split()
    ]
    # labels, or nothing below them
    labels = [line[:12].strip() for line in inner]
    assert [label for label in labels if label] == [label for label, _ in rows_of(STATE, 99)]


def test_in_120_columns_the_curve_is_longer() -> None:
    state = dataclasses.replace(STATE, curve=[*range(100)])
    curves = {
        width: max(drawn(state, width).splitlines()[1].split(), key=len) for width in (80, 120)
    }
    # 64 columns of text, of which 27 before the curve; 104
    assert {width: len(curve) for width, curve in curves.items()} == {80: 37, 120: 77}


def test_what_is_not_known_is_left_out_or_said() -> None:
    little = RunState(counts=["iteration 1"], scalars={"imitation/agreement": 0.91})
    assert dict(rows_of(little, 64)) == {
        "return": ["no episode yet"],
        "progress": ["iteration 1"],
        "time": ["elapsed 0:00:00"],
        "update": ["agreed 91.0%"],
        "workers": ["in this process"],
        "last fault": ["none"],
    }
    few = dataclasses.replace(little, returns=[20.0] * 9, evaluates=True)
    assert dict(rows_of(few, 64))["return"] == ["20.0"]
    assert dict(rows_of(few, 64))["evaluation"] == ["none yet"]


class FourWorkers:
    """Three of four answer, and their first rollouts are as far as is told."""

    steps: int | None = 0

    def alive(self) -> tuple[int, int]:
        return 3, 4

    def first_steps(self) -> int | None:
        return self.steps


def tracked(monkeypatch: pytest.MonkeyPatch, returns: list[float], **settings: Any) -> Tracker:
    """Return a tracker after three iterations of 100 steps that end at 10, 20 and 30 s."""
    monkeypatch.setattr(time, "time", lambda: 0.0)
    clock, tracker = Clock(0.0), Tracker(Config(total_steps=1000, num_workers=4, **settings))
    clock.begin(Progress())
    tracker.begin(Progress(), clock)
    for number, value in enumerate(returns, start=1):
        progress = Progress(iteration=number, env_steps=100 * number, returns=(value,))
        evaluation = Evaluation([5.0], [1], iteration=1) if number == 2 else None
        iteration = iteration_of(
            progress,
            update=Update({"train/approx_kl": 0.5}),
            evaluation=evaluation,
            faults=ProcessFaults(worker_restarts=1, learner_restarts=1),
            updated_at=10.0 * number,
        )
        clock.on_iteration(iteration)
        tracker.on_iteration(iteration)
    return tracker


def test_the_nearest_end_is_shown_and_the_seconds_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = tracked(monkeypatch, [10.0, 20.0, 30.0], stop_at_return=60.0, max_seconds=65.0)
    tracker.workers = FourWorkers()
    monkeypatch.setattr(time, "time", lambda: 34.0)
    state = tracker.state()
    assert sorted(state.left) == [
        (pytest.approx(26), "return 60, extrapolated"),
        (pytest.approx(31), "--max-seconds"),
        # 700 steps at 10 steps/s
        (pytest.approx(66), "all steps"),
    ]
    assert state.elapsed_s == 34
    assert state.counts == ["iteration 3", "300 of 1,000 env steps", "10 steps/s"]
    assert state.curve == [10, 20, 30]
    # that of an iteration before the last
    assert state.evaluation == (5.0, 1)
    assert (state.workers, state.restarts) == ((3, 4), 2)


def test_a_return_that_falls_has_no_time_of_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = tracked(monkeypatch, [30.0, 20.0, 10.0], stop_at_return=60.0)
    assert [name for _, name in tracker.state().left] == ["all steps"]


def test_the_first_rollout_is_counted_until_it_is_complete() -> None:
    workers = FourWorkers()
    segments = Tracker(Config(num_workers=4, num_envs=2, num_steps=64))
    episodes = Tracker(Config(algo="reinforce", num_workers=4, num_envs=2))
    assert segments.first_rollout() == "first rollout"
    segments.workers = episodes.workers = workers
    workers.steps = 384
    assert segments.first_rollout() == "first rollout 384 of 512 steps"
    assert episodes.first_rollout() == "first rollout 384 steps"
    workers.steps = None
    assert segments.first_rollout() == "first update"
