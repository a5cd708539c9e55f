"""A cluster of two machines, of which one is lost, or its head."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from distpg import train
from distpg.actors.fetching import FetchingWorkers
from distpg.actors.placement import Places
from distpg.actors.process import Process
from distpg.actors.restarts import Restarts
from distpg.actors.slots import Slots
from distpg.actors.workers import RayWorkers
from distpg.envs.make import find_env
from distpg.iteration import Iteration, ProcessFaults
from distpg.records import Rollout
from distpg.report.fault_events import FaultEvents
from distpg.rollout.worker import RolloutWorker
from distpg.run.directory import RunDir
from distpg.run.loading import load_newest
from tests.actors.test_actors import wait_until_gone
from tests.faults.injection import Faulty, FaultyWithState, fault
from tests.faults.test_processes import SHAPE, policy_content, run, undisturbed
from tests.faults.test_signals import running
from tests.settings import config_of

pytestmark = pytest.mark.thorough
SECOND = "DISTPG_TESTS_SECOND_NODE"
LONG_UPDATES = {"num_epochs": 60, "learning_rate": 1e-5, "hidden_sizes": (96, 96)}
"""With them the learner's state is too large to travel with the call that made it."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head for the learner and one worker, and a node for the other, which knows that it is."""
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    made.add_node(num_cpus=1, env_vars={SECOND: "1"})
    ray.init(address=made.address, log_to_driver=False, logging_level=logging.CRITICAL)
    yield made
    ray.shutdown()
    made.shutdown()


class OnTheSecond(FaultyWithState):
    """Loses its machine, if that is the second node."""

    def first(self) -> bool:
        return SECOND in os.environ and super().first()

    def fail(self) -> None:
        os.kill(int(os.environ["RAY_RAYLET_PID"]), signal.SIGKILL)
        time.sleep(3600)


class Heavy(OnTheSecond):
    """The same, with a state too large to travel with the call that made it."""

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "ballast": np.zeros(20_000)}


class OnTheSecondUntold(OnTheSecond, Faulty):
    """The same, and tells no state."""

    get_state: Any = None


def test_the_slots_of_a_lost_machine_go_on_elsewhere_and_the_weights_are_the_same(
    cluster: Cluster, tmp_path: Path
) -> None:
    expected = undisturbed(tmp_path, FaultyWithState)
    # no failure of a process is allowed: this is none
    changes = {"max_restarts": 0, "env_kwargs": fault(tmp_path, "node", at=41)}
    outcome = run(tmp_path / "run", OnTheSecond, num_workers=2, **changes)
    assert (tmp_path / "fired").exists()
    assert outcome.result["worker_restarts"] == 1
    assert outcome.result["reissued_slots"] == 1
    # one CPU short, the worker shares
    assert ray.cluster_resources()["CPU"] == 2
    assert policy_content(outcome) == policy_content(expected)
    for key in ("env_steps", "trained_steps", "episodes", "dropped_steps"):
        assert outcome.result[key] == expected.result[key], key


def test_slots_whose_states_are_lost_repeat_the_rollouts_since_the_last_copy(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = undisturbed(tmp_path, Heavy, total_steps=500)
    repeated: list[int] = []

    def bring(slots: Slots, process: Process, which: Sequence[int], iteration: int) -> Any:
        calls, number = brought(slots, process, which, iteration)
        repeated.append(number)
        return calls, number

    brought = Slots.bring
    monkeypatch.setattr(Slots, "bring", bring)
    # of iteration 5; the copies are of the moments before iterations 3 and 6
    fatal = fault(tmp_path, "node", at=5 * 16 + 9)
    changes = {"total_steps": 500, "recovery_every": 3, "placement": "spread", "max_restarts": 0}
    outcome = run(tmp_path / "run", Heavy, num_workers=2, env_kwargs=fatal, **changes)
    assert (tmp_path / "fired").exists()
    assert [number for number in repeated if number] == [2]
    assert outcome.result["worker_restarts"] == 1
    assert policy_content(outcome) == policy_content(expected)


def test_rollouts_that_were_lost_before_the_learner_had_them_are_played_again(
    cluster: Cluster,
) -> None:
    # too large to travel with the call that made them
    config = config_of({**SHAPE, "num_workers": 2, "num_steps": 2048, "placement": "spread"})
    source = find_env(FaultyWithState, {})
    twins = [RolloutWorker(config, source, slot) for slot in range(2)]
    weights = twins[0].agent.policy.weights(0)
    restarts = Restarts(0, FaultEvents(print))
    places = Places(config, print, others=())
    places.reserve()
    workers = RayWorkers(config, source, places, restarts)
    try:
        workers.wait_until_ready()
        workers.collect(ray.put(weights), 0).result()
        rollouts = workers.collect(ray.put(weights), 1).result().rollouts
        expected = [[twin.collect(weights, k).rollout for k in range(2)][-1] for twin in twins]
        (second,) = set(cluster.worker_nodes)
        cluster.remove_node(second, allow_graceful=False)
        again: list[Rollout] = workers.fetch(workers.replay(rollouts))
        for rollout, wanted in zip(again, expected, strict=True):
            assert rollout.slot == wanted.slot
            np.testing.assert_array_equal(rollout.obs["obs"], wanted.obs["obs"])
            np.testing.assert_array_equal(rollout.actions, wanted.actions)
        # and the slots stand where they would
        rollouts = workers.collect(ray.put(weights), 2).result().rollouts
        for rollout, twin in zip(workers.fetch(rollouts), twins, strict=True):
            wanted = twin.collect(weights, 2).rollout
            np.testing.assert_array_equal(rollout.obs["obs"], wanted.obs["obs"])
        # the process, and the rollouts
        assert (restarts.failed, restarts.lost_with_node) == (0, 2)
        assert workers.num_reissued == 1
    finally:
        workers.close()


def test_rollouts_that_were_lost_before_the_driver_had_them_are_played_again(
    cluster: Cluster,
) -> None:
    class Bereaved(FetchingWorkers):
        """Loses a machine when it is to bring the rollouts of a second round."""

        rounds = 0

        def fetch(self, rollouts: Sequence[Any]) -> list[Rollout]:
            self.rounds += 1
            if self.rounds == 2:
                (second,) = set(cluster.worker_nodes)
                cluster.remove_node(second, allow_graceful=False)
            return super().fetch(rollouts)

    config = config_of({**SHAPE, "num_workers": 2, "num_steps": 2048, "placement": "spread"})
    source = find_env(FaultyWithState, {})
    twins = [RolloutWorker(config, source, slot) for slot in range(2)]
    weights = twins[0].agent.policy.weights(0)
    places = Places(config, print, others=())
    places.reserve()
    workers = Bereaved(config, source, places, Restarts(0, FaultEvents(print)))
    try:
        workers.wait_until_ready()
        for iteration in range(3):
            rollouts = workers.collect(weights, iteration).result().rollouts
            for rollout, twin in zip(rollouts, twins, strict=True):
                wanted = twin.collect(weights, iteration).rollout
                np.testing.assert_array_equal(rollout.obs["obs"], wanted.obs["obs"])
                np.testing.assert_array_equal(rollout.actions, wanted.actions)
        assert workers.rounds == 4
        assert workers.faults() == ProcessFaults(
            worker_restarts=1, lost_with_node=2, reissued_slots=1
        )
    finally:
        workers.close()


def test_a_drained_machine_costs_no_failure(cluster: Cluster, tmp_path: Path) -> None:
    expected = undisturbed(tmp_path, FaultyWithState)
    (second,) = set(cluster.worker_nodes)
    command = [str(Path(sys.executable).with_name("ray")), "drain-node"]
    command += ["--address", str(cluster.address), "--node-id", str(second.node_id)]
    command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    command += ["--deadline-remaining-seconds", "5"]
    changes = {"max_restarts": 0, "env_kwargs": fault(tmp_path, "node", at=41)}

    class Drained(OnTheSecond):
        def fail(self) -> None:
            subprocess.run(command, check=True, capture_output=True)
            super().fail()

    outcome = run(tmp_path / "run", Drained, num_workers=2, **changes)
    assert (tmp_path / "fired").exists()
    assert outcome.result["worker_restarts"] == 1
    assert policy_content(outcome) == policy_content(expected)


def test_the_heads_death_ends_the_driver_with_the_command_that_resumes(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    with running(run_dir) as process:
        below = psutil.Process(process.pid).children(recursive=True)
        (head,) = [one for one in below if one.name() == "gcs_server"]
        head.kill()
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 1, output
    assert "the Ray head node is unreachable" in output
    assert f"launch.py resume {run_dir.path}" in output
    assert "Traceback" not in output
    assert load_newest(run_dir)[1] == []
    assert not wait_until_gone(below)


@pytest.fixture
def cpus() -> list[int]:
    """Those of the nodes besides the head."""
    return [2, 2]


@pytest.fixture
def headless(cpus: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head that takes no actors, and nodes that do."""
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for num_cpus in cpus:
        made.add_node(num_cpus=num_cpus)
    ray.init(address=made.address, log_to_driver=False, logging_level=logging.CRITICAL)
    yield made
    ray.shutdown()
    made.shutdown()


@contextmanager
def the_learners_machine_lost() -> Generator[None]:
    """Kill the raylet of the learner in one of its first updates."""
    killed = threading.Event()

    def kill_it() -> None:
        updates = 0
        while not killed.is_set():
            for process in psutil.Process().children(recursive=True):
                try:
                    if "ray::LearnerActor.update" in process.cmdline():
                        updates += 1
                        if updates > 3:
                            os.kill(process.ppid(), signal.SIGKILL)
                            killed.set()
                            return
                except psutil.Error:
                    continue
            time.sleep(0.01)

    watcher = threading.Thread(target=kill_it, daemon=True)
    watcher.start()
    yield
    watcher.join(timeout=1)
    assert killed.is_set()


def test_processes_are_placed_where_their_labels_say(headless: Cluster, tmp_path: Path) -> None:
    headless.add_node(num_cpus=1, labels={"kind": "large"})
    headless.add_node(num_cpus=3, labels={"kind": "small"})
    raylets: dict[str, dict[int, int]] = {"Learner": {}, "Rollout": {}}

    def note(iteration: Iteration) -> None:
        for process in psutil.Process().children(recursive=True):
            kind, _, _ = " ".join(process.cmdline()).removeprefix("ray::").partition("Actor")
            if kind in raylets:
                raylets[kind][process.pid] = process.ppid()

    labels = {"learner_label": "kind=large", "worker_label": "kind=small"}
    config = config_of({**SHAPE, "num_workers": 2, "min_workers": 1, "total_steps": 2000, **labels})
    train(config, make_env=FaultyWithState, run_dir=tmp_path, watchers=[note], quiet=True)
    (large,) = raylets["Learner"].values()
    small, other = raylets["Rollout"].values()
    assert small == other != large


def test_a_learner_lost_with_its_machine_is_replaced_and_the_weights_are_the_same(
    headless: Cluster, tmp_path: Path
) -> None:
    expected = undisturbed(tmp_path, FaultyWithState, **LONG_UPDATES)
    with the_learners_machine_lost():
        outcome = run(tmp_path / "run", FaultyWithState, num_workers=1, **LONG_UPDATES)
    # Ray may place the first that takes its place on the lost machine, too
    assert outcome.result["learner_restarts"] >= 1
    assert policy_content(outcome) == policy_content(expected)


@pytest.mark.parametrize("cpus", [[1, 1, 1]], ids=["a CPU each"])
def test_a_learner_whose_machine_is_lost_and_that_finds_no_place_takes_the_newest_workers(
    headless: Cluster, tmp_path: Path
) -> None:
    changes = {**LONG_UPDATES, "total_steps": 1000}
    expected = undisturbed(tmp_path, FaultyWithState, **changes)
    hosted: list[list[int]] = []

    def note(iteration: Iteration) -> None:
        hosted.append([len(told) for told in iteration.collection.by_worker])

    config = config_of({**SHAPE, "num_workers": 2, "max_restarts": 0, **changes})
    with the_learners_machine_lost():
        outcome = train(config, make_env=FaultyWithState, run_dir=tmp_path / "run", watchers=[note])
    log = (outcome.run_dir / "log.txt").read_text()
    assert log.count("rollout worker 1 gives its place to the learner") == 1
    assert (hosted[0], hosted[-1]) == ([1, 1], [2, 0])
    assert outcome.result["learner_restarts"] == 1
    assert policy_content(outcome) == policy_content(expected)
