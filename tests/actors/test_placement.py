"""Places on a real Ray: what waits for one says so, and workers come and go without a trace."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray.util import placement_group_table

from distpg import InputError, Outcome, train
from distpg.actors import collecting, placement
from distpg.actors.workers import RayWorkers
from distpg.envs.make import find_env
from distpg.iteration import Iteration
from distpg.rollout.worker import RolloutWorker
from tests.actors.test_actors import (
    ROOT,
    environment,
    initial_weights,
    policy_content,
    tiny,
    workers_of,
)
from tests.faults.injection import FaultyWithState

pytestmark = [pytest.mark.usefixtures("callers_ray"), pytest.mark.thorough]
SECOND_RUN = """
import sys
from distpg import train
from distpg.actors import placement
from tests.actors.test_actors import tiny

placement.SAY_EVERY_S = 0.5
train(tiny(2, address=sys.argv[1]), run_dir=sys.argv[2])
"""


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return train(tiny(0), run_dir=tmp_path_factory.mktemp("in-process") / "run", quiet=True)


@pytest.fixture
def all_free() -> None:
    """Wait until Ray knows that what the test before had is free again."""
    deadline = time.monotonic() + 20
    while ray.available_resources().get("CPU", 0) < 4:
        assert time.monotonic() < deadline, ray.available_resources()
        time.sleep(0.1)


def test_a_run_says_for_how_many_cpus_it_waits_and_leaves_no_request_when_it_gives_up(
    all_free: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(placement, "SAY_EVERY_S", 0.3)
    monkeypatch.setattr(placement, "POLL_S", 0.1)
    monkeypatch.setattr(placement, "AT_ONCE_S", 0.5)
    config = tiny(4, num_slots=4, wait_for_resources=1.5)
    lacking = "1 of 5 CPUs (free: 4)"
    said = re.escape(f"--wait-for-resources: within 1.5 s the cluster had no place for {lacking};")
    began = time.monotonic()
    with pytest.raises(InputError, match=said):
        train(config, run_dir=tmp_path / "run")
    assert 1.5 < time.monotonic() - began < 10
    assert 2 <= capsys.readouterr().out.count(f"waiting for {lacking}\n") <= 5
    assert not (tmp_path / "run").exists()
    states = {group["state"] for group in placement_group_table().values()}
    assert states == {"REMOVED"}


def test_a_run_that_does_not_wait_begins_where_there_is_room(
    all_free: None, in_process: Outcome, tmp_path: Path
) -> None:
    config = tiny(2, wait_for_resources=0.0, eval_every=1, eval_episodes=1)
    outcome = train(config, run_dir=tmp_path / "run", quiet=True)
    assert policy_content(outcome) == policy_content(in_process)


def test_two_runs_on_a_cluster_with_room_for_one_both_finish(
    all_free: None, in_process: Outcome, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", SECOND_RUN, ray.get_runtime_context().gcs_address]
    started: list[subprocess.Popen[str]] = []

    def start_the_other(iteration: Iteration) -> None:
        """Go on when the other run waits."""
        if iteration.progress.iteration == 1:
            process = subprocess.Popen(
                [*words, str(tmp_path / "second")],
                env=environment() | {"RAY_AUTH_MODE": "token"},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            started.append(process)
            assert process.stdout
            lines: list[str] = []
            while not lines or "waiting for" not in lines[-1]:
                lines.append(process.stdout.readline())
                assert lines[-1], "".join(lines)[-400:]
            assert lines[-1] == "waiting for 2 of 3 CPUs (free: 1)\n"

    try:
        first = train(tiny(2), run_dir=tmp_path / "first", watchers=[start_the_other], quiet=True)
        (second,) = started
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 0, output
    finally:
        for process in started:
            process.kill()
    assert policy_content(first) == policy_content(in_process)
    assert (tmp_path / "second" / "policy.safetensors").read_bytes() == policy_content(in_process)


class Elastic:
    """Three slots of two workers, beside the same slots in this process."""

    def __init__(self, workers: RayWorkers) -> None:
        self.workers = workers
        workers.wait_until_ready()
        source = find_env(FaultyWithState, {})
        self.twins = [RolloutWorker(workers.config, source, slot) for slot in range(3)]
        self.weights = initial_weights(FaultyWithState)
        self.iteration = 0

    def collect(self) -> list[list[int]]:
        """Collect, check the rollouts, and return the slots of each worker."""
        collection = self.workers.collect(ray.put(self.weights), self.iteration).result()
        for ref, twin in zip(collection.rollouts, self.twins, strict=True):
            rollout: Any = ray.get(ref)
            wanted = twin.collect(self.weights, self.iteration).rollout
            np.testing.assert_array_equal(rollout.obs["obs"], wanted.obs["obs"])
            np.testing.assert_array_equal(rollout.actions, wanted.actions)
            np.testing.assert_array_equal(rollout.rewards, wanted.rewards)
        self.iteration += 1
        return [sorted(stats.slot for stats in told) for told in collection.by_worker]

    def wait_for(self, worker: int) -> None:
        ref = self.workers.team.processes[worker].placed
        assert ray.wait([ref], timeout=60)[0], "it has not started"


class Blocker:
    """Takes CPUs."""

    def ready(self) -> bool:
        return True


def test_a_worker_that_finds_a_cpu_later_and_a_replacement_take_their_slots_between_iterations(
    all_free: None,
) -> None:
    blocker: Any = ray.remote(num_cpus=3)(Blocker).remote()
    ray.get(blocker.ready.remote())
    workers = workers_of(tiny(2, num_slots=3, min_workers=1), FaultyWithState, allowed=1)
    try:
        elastic = Elastic(workers)
        assert elastic.collect() == [[0, 1, 2], []]
        ray.kill(blocker)
        elastic.wait_for(1)
        assert elastic.collect() == [[0, 2], [1]]
        ray.kill(workers.team.processes[1].actor)
        assert elastic.collect() == [[0, 1, 2], []]
        elastic.wait_for(1)
        assert elastic.collect() == [[0, 2], [1]]
        faults = workers.faults()
        assert (faults.worker_restarts, faults.reissued_slots) == (1, 1)
    finally:
        workers.close()
        workers.places.close()


def stop(actor: Any) -> None:
    """Stop the process of an actor."""

    def pid(itself: Any) -> int:
        return os.getpid()

    os.kill(ray.get(actor.__ray_call__.remote(pid)), signal.SIGSTOP)


def test_a_worker_that_stands_still_is_named_before_it_is_replaced(
    all_free: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(collecting, "LATE_S", 0.5)
    workers = workers_of(tiny(2, num_slots=3), FaultyWithState, allowed=1)
    try:
        elastic = Elastic(workers)
        assert elastic.collect() == [[0, 2], [1]]
        workers.config = dataclasses.replace(workers.config, phase_timeout=6.0)
        # on a busy machine the first takes long
        workers.last_s = 0.1
        stop(workers.team.processes[1].actor)
        assert elastic.collect() == [[0, 1, 2], []]
    finally:
        workers.close()
        workers.places.close()
    (late,) = [line for line in capsys.readouterr().out.splitlines() if "so far" in line]
    assert re.fullmatch(
        r"iteration 1 waits for rollout worker 1 \(slots 1\): \d s so far; "
        r"replaced after 6 s \(--phase-timeout\)",
        late,
    )
    assert workers.faults().worker_restarts == 1
