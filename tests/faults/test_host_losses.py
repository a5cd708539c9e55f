"""Hosts that are lost while a run is on them: the others go on, and the weights are the same."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.test_hosts import (
    CPUS,
    HEAD,
    NO_TOKENS,
    finish,
    policy,
    result,
    training,
    under_way,
    undisturbed,
)
from tests.host_cluster import actors, restore, start_node, wait_until
from tests.hosts import Host, Network, network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LONG, SHORT = 250, 90
"""Iterations of `SLOWLY`, of 0.3 s with three workers and 1 s with one."""
SLOWLY = ["--env-id", "tests.faults.injection:Slowly"]
PAUSE = ["--env-kwargs", '{"pause_s": 0.01}']


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(3, tmp_path_factory.mktemp("hosts")) as made:
        yield made


def cluster(machines: Network, cpus: list[int]) -> list[Host]:
    """Begin with a new cluster."""
    for host in machines.hosts:
        if host.is_on():
            host.power_off()
    restore(machines.hosts, cpus)
    return machines.hosts


def iterations(host: Host, name: str) -> int:
    table: Path = host.path(f"/tmp/{name}") / "progress.csv"
    return table.read_text().count("\n") - 1 if table.exists() else 0


def wait_for_an_iteration(host: Host, name: str) -> float:
    """Wait until a run has done one more; return how many seconds that took."""
    before = iterations(host, name)
    return wait_until(lambda: iterations(host, name) > before + 1, timeout=90)


def test_a_full_cluster_loses_a_host_and_gets_it_back(machines: Network) -> None:
    head, _, third = cluster(machines, CPUS)
    expected = undisturbed(head, LONG, *SLOWLY)
    words = [*SLOWLY, *PAUSE, "--num-workers", "3", "--address", HEAD, "--max-restarts", "0"]
    process = training(head, "full", LONG, *words)
    try:
        wait_until(lambda: iterations(head, "full") > 20)
        assert actors(third, "RolloutActor") == 1
        third.power_off()
        # its slots go to the others once Ray knows, after 20 s
        assert wait_for_an_iteration(head, "full") < 60
        third.boot()
        start_node(third, 1, "--address", HEAD, **NO_TOKENS)
        wait_until(lambda: actors(third, "RolloutActor") == 1)
        wait_for_an_iteration(head, "full")
        finish(process)
    finally:
        process.kill()
    assert result(head, "full")["worker_restarts"] >= 1
    assert result(head, "full")["lost_with_node"] >= 1
    assert policy(head, "full") == expected


def test_a_learner_goes_on_in_the_place_of_a_worker(machines: Network) -> None:
    head, *others = cluster(machines, [0, 2, 2])
    expected = undisturbed(head, SHORT, *SLOWLY)
    words = [*SLOWLY, *PAUSE, "--num-workers", "3", "--address", HEAD, "--max-restarts", "0"]
    process = training(head, "learner", SHORT, *words)
    try:
        wait_until(lambda: iterations(head, "learner") > 20)
        assert actors(head) == 0
        (host,) = [host for host in others if actors(host, "LearnerActor")]
        host.power_off()
        assert wait_for_an_iteration(head, "learner") < 90
        finish(process)
    finally:
        process.kill()
    assert result(head, "learner")["learner_restarts"] == 1
    assert policy(head, "learner") == expected


def test_two_runs_that_do_not_fit_together_come_one_after_the_other(machines: Network) -> None:
    head, *_ = cluster(machines, CPUS)
    with under_way(head, "first", 400) as first:
        second = training(head, "second", 10, "--num-workers", "2", "--address", HEAD)
        try:
            wait_until(lambda: first.poll() is not None, timeout=240)
            assert first.returncode == 0, first.communicate()[0]
            finish(second)
        finally:
            second.kill()
    said = (head.path("/tmp/second") / "log.txt").read_text()
    assert re.search(r"waiting for \d of 3 CPUs \(free: \d\)", said)
    assert policy(head, "second") == undisturbed(head, 10)


def test_rollouts_do_not_go_through_the_driver(machines: Network) -> None:
    head, *_ = cluster(machines, [0, 2, 2])
    # of 72 kB each, which Ray would send through the driver, there and back
    words = ["--num-envs", "4", "--num-steps", "512", "--minibatch-size", "512"]
    process = training(head, "bytes", 10**6, "--num-workers", "3", "--address", HEAD, *words)
    try:
        wait_until(lambda: iterations(head, "bytes") > 12)
        before, received = iterations(head, "bytes"), sum(head.traffic())
        time.sleep(10)
        done = iterations(head, "bytes") - before
        per_iteration = (sum(head.traffic()) - received) / done
    finally:
        process.kill()
    assert per_iteration < 3 * 72_000 / 2
