"""An iteration as watchers see it, and where its time, and that of a run, goes: by hand."""

import dataclasses
import json
from typing import Any

import pytest

from distpg.iteration import Collection, Evaluation, Phases, ProcessFaults, Update
from distpg.progress import Progress
from distpg.report.clock import Clock, time_table
from tests.iterations import BY_WORKER, iteration_of

UPDATE = Update({"train/loss": 1.0}, learner_s=3.0, prepare_s=1.0)


def test_what_is_told_of_the_slots_is_read_in_slot_order() -> None:
    assert [slot.slot for slot in Collection([], BY_WORKER).stats] == [0, 1, 2]


def test_the_slowest_worker_decides_what_collecting_took() -> None:
    phases = Phases.of(BY_WORKER, UPDATE, collect_s=3.5, update_s=4.0)
    assert phases.scalars() == {
        "perf/collect_s": 3.5,
        "perf/step_s": 1.25,
        "perf/act_s": 1.75,
        "perf/broadcast_s": 0.5,
        "perf/idle_s": 1.0,
        "perf/update_s": 4.0,
        "perf/learner_s": 3.0,
        "perf/prepare_s": 1.0,
        "workers/slowest": 0,
    }
    # the other one's 1 s is the lower median of the two
    assert phases.stragglers == 1
    assert phases.barrier_wait_s == (0.0, 2.0)


def test_what_was_collected_during_an_update_leaves_no_broadcast_to_wait_for() -> None:
    assert Phases.of(BY_WORKER, UPDATE, collect_s=0.1, update_s=4.0).broadcast_s == 0


def test_no_watcher_can_change_what_the_others_see() -> None:
    iteration = iteration_of(Progress(), update=UPDATE)
    watched: Any = iteration
    with pytest.raises(dataclasses.FrozenInstanceError):
        watched.progress = Progress(iteration=1)
    with pytest.raises(TypeError):
        watched.scalars["train/loss"] = 2.0
    more = iteration.adding({"eval/mean_reward": 5.0})
    assert more.scalars == {"train/loss": 1.0, "eval/mean_reward": 5.0}
    assert iteration.scalars == UPDATE.scalars == {"train/loss": 1.0}
    assert iteration.adding(None) is iteration


def test_an_evaluation_is_summarized_by_its_means() -> None:
    # returns 1, 2, 6: mean 3, variance (4 + 1 + 9) / 3
    scalars = Evaluation([1.0, 2.0, 6.0], [10, 20, 60]).scalars()
    assert scalars["eval/mean_reward"] == pytest.approx(3)
    assert scalars["eval/std_reward"] == pytest.approx((14 / 3) ** 0.5)
    assert scalars["eval/mean_ep_length"] == pytest.approx(30)


def test_faults_of_workers_and_learner_add_up_field_by_field() -> None:
    workers = ProcessFaults(worker_restarts=1, lost_with_node=2, reissued_slots=3)
    learner = ProcessFaults(learner_restarts=4, lost_with_node=5)
    assert workers + learner == ProcessFaults(1, 4, 7, 3)


def clock_after(iterations: int, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(0.0)
    monkeypatch.setattr(clock, "now", lambda: 100.0)
    clock.begin(Progress())
    for number in range(1, iterations + 1):
        progress = Progress(iteration=number, env_steps=150 * number)
        iteration = iteration_of(progress, update=UPDATE, updated_at=100.0 + 10 * number)
        assert clock.on_iteration(iteration) == pytest.approx(
            {
                "perf/simulation_share": 0.125,
                "time/fps": 15,
                "time/iterations": number,
                "time/time_elapsed": 10 * number,
                "time/total_timesteps": 150 * number,
            }
        )
    return clock


def test_a_resumed_run_counts_on_from_the_last_update_before_its_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = json.loads(json.dumps(clock_after(2, monkeypatch).state()))
    clock = Clock(1000.0)
    clock.load(state)
    # 120 s before; the resume starts at 1000 and takes 7 s
    monkeypatch.setattr("distpg.report.clock.time.time", lambda: 1007.0)
    clock.begin(Progress(iteration=2, env_steps=300))
    assert (clock.startup_s, clock.train_s, clock.now()) == (107, 20, 127)
    progress = Progress(iteration=3, env_steps=450)
    iteration = iteration_of(progress, update=UPDATE, updated_at=1017.0)
    assert clock.on_iteration(iteration)["time/time_elapsed"] == 30
    assert clock.steps_per_s == 15
    assert sum(clock.spent(overlap=False).values()) == pytest.approx(30)


def test_a_runs_phases_add_up_to_all_of_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_after(2, monkeypatch)
    collecting = {"stepping": 2.5, "acting": 3.5, "broadcast": 1.0}
    rest = {"transfer": 2.0, "preparation": 2.0, "epochs": 4.0, "watchers": 5.0}
    assert clock.spent(overlap=False) == pytest.approx(collecting | rest)
    assert clock.spent(overlap=True) == pytest.approx({"waiting": 7.0} | rest)
    waited = {"evaluation": 1.0, "watchers": 4.0}
    assert clock.spent(overlap=False, evaluates=True) == pytest.approx(collecting | rest | waited)
    assert (clock.train_s, clock.steps_per_s, clock.simulation_share) == (20, 15, 0.125)


def test_shares_of_the_last_iteration_are_stacked_up_to_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = clock_after(2, monkeypatch)
    rest = {"5_and_transfer": 0.45, "6_and_preparation": 0.55, "7_and_epochs": 0.75}
    collecting = {"1_stepping": 0.125, "2_and_acting": 0.3, "3_and_broadcast": 0.35}
    expected = collecting | rest | {"8_and_watchers": 1.0}
    found = clock.stacked(overlap=False)
    assert found == pytest.approx({f"time_share/{name}": x for name, x in expected.items()})
    overlapped = clock.stacked(overlap=True)
    assert overlapped["time_share/4_waiting"] == pytest.approx(0.35)
    assert overlapped["time_share/8_and_watchers"] == pytest.approx(1)


def test_the_table_names_each_phase_and_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_after(2, monkeypatch)
    spent = clock.spent(overlap=False)
    lines = list(time_table(spent, clock.simulation_share, clock.steps_per_s))
    assert lines[0].split()[:4] == ["stepping", "2.50", "s", "12%"]
    assert lines[-1].endswith("15 env steps/s, 12% of the simulation-bound maximum")


def test_a_run_without_an_iteration_spent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_after(0, monkeypatch)
    assert clock.spent(overlap=False) == {}
    assert clock.steps_per_s == clock.simulation_share == 0
