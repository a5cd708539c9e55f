"""Where the time of an iteration, and of a run, goes: by hand."""

import numpy as np
import pytest

from distpg.phases import phases
from distpg.progress import Progress
from distpg.records import Collection, RolloutStats
from distpg.report.clock import Clock, table


def played(slot: int, collect_s: float, step_s: float) -> RolloutStats:
    none = np.zeros(0)
    return RolloutStats(slot, 50, 0, none, none.astype(np.int64), collect_s, step_s)


# the first worker plays slots 0 and 2 and takes 3 s, the second takes 1 s
BY_WORKER = [[played(0, 1.0, 0.5), played(2, 2.0, 0.75)], [played(1, 1.0, 0.25)]]


def test_what_is_told_of_the_slots_is_read_in_slot_order() -> None:
    assert [slot.slot for slot in Collection([], BY_WORKER).stats] == [0, 1, 2]


def test_the_slowest_worker_decides_what_collecting_took() -> None:
    assert phases(BY_WORKER, collect_s=3.5, update_s=4.0) == {
        "perf/collect_s": 3.5,
        "perf/step_s": 1.25,
        "perf/act_s": 1.75,
        "perf/broadcast_s": 0.5,
        "perf/idle_s": 1.0,
        "perf/update_s": 4.0,
        # the other one's 1 s is the lower median of the two
        "workers/slowest": 0,
        "faults/stragglers": 1,
        "faults/barrier_wait_s/0": 0.0,
        "faults/barrier_wait_s/1": 2.0,
    }


def test_what_was_played_during_an_update_leaves_no_broadcast_to_wait_for() -> None:
    assert phases(BY_WORKER, collect_s=0.1, update_s=4.0)["perf/broadcast_s"] == 0


def clock_after(iterations: int, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock, now = Clock(0.0), 100.0
    monkeypatch.setattr(clock, "now", lambda: now)
    clock.begin(Progress(env_steps=1000))
    for number in range(iterations):
        now += 10
        learner = {"perf/learner_s": 3.0, "perf/prepare_s": 1.0}
        scalars = phases(BY_WORKER, collect_s=3.5, update_s=4.0) | learner
        clock.on_iteration(Progress(env_steps=1000 + 150 * (number + 1)), scalars, None)
        assert scalars["perf/simulation_share"] == pytest.approx(0.125)
    return clock


def test_a_runs_phases_add_up_to_all_of_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_after(2, monkeypatch)
    collecting = {"stepping": 2.5, "acting": 3.5, "broadcast": 1.0}
    rest = {"transfer": 2.0, "preparation": 2.0, "epochs": 4.0, "watchers": 5.0}
    assert clock.spent(overlap=False) == pytest.approx(collecting | rest)
    assert clock.spent(overlap=True) == pytest.approx({"waiting": 7.0} | rest)
    assert (clock.train_s, clock.steps_per_s, clock.simulation_share) == (20, 15, 0.125)


def test_the_table_names_each_phase_and_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_after(2, monkeypatch)
    lines = list(table(clock.spent(overlap=False), clock.simulation_share, clock.steps_per_s))
    assert lines[0].split()[:4] == ["stepping", "2.50", "s", "12%"]
    assert lines[-1].endswith("15 env steps/s, 12% of what stepping alone would allow")


def test_a_run_without_an_iteration_spent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_after(0, monkeypatch)
    assert clock.spent(overlap=False) == {}
    assert clock.steps_per_s == clock.simulation_share == 0
