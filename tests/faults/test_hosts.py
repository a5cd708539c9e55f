"""Runs on a cluster of three hosts, with what happens to machines: power, cables, slow links."""

import json
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.host_cluster import NO_TOKENS, actors, alive, restore, token, wait_until
from tests.hosts import Host, HostProcess, Network, network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
HEAD = "10.77.0.10:6379"
CPUS = [2, 1, 1]
"""For the learner and three workers: there is one on each host."""
WORDS = [
    *("python", "launch.py", "train", "--num-slots", "3", "--num-envs", "2", "--num-steps", "16"),
    *("--minibatch-size", "32", "--num-epochs", "2", "--hidden-sizes", "8", "--device", "cpu"),
    *("--learner-threads", "1", "--compile", "off", "--checkpoint-every", "5", "--quiet"),
]
ITERATION_STEPS = 96
NEVER = 10**7
"""More iterations than any test waits for."""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(3, tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture
def hosts(machines: Network) -> list[Host]:
    """The hosts of a cluster, whatever the test before did to them."""
    hosts = machines.hosts[:3]
    restore(hosts, CPUS)
    return hosts


def training(host: Host, name: str, iterations: int, *words: str) -> HostProcess:
    """Start a run of so many iterations on a host."""
    steps = ["--total-steps", str(ITERATION_STEPS * iterations)]
    return host.run(*WORDS, *steps, "--run-dir", f"/tmp/{name}", *words, **NO_TOKENS)


def finish(process: HostProcess, timeout: float = 240.0) -> str:
    """Wait for a process's success; return what it wrote."""
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output


def policy(host: Host, name: str) -> bytes:
    return (host.path(f"/tmp/{name}") / "policy.safetensors").read_bytes()


def result(host: Host, name: str) -> dict[str, Any]:
    return json.loads((host.path(f"/tmp/{name}") / "result.json").read_text())


def undisturbed(host: Host, iterations: int, *words: str) -> bytes:
    """Return the policy of a run in one process."""
    name = f"alone-{iterations}"
    if not host.path(f"/tmp/{name}").exists():
        finish(training(host, name, iterations, "--num-workers", "0", *words))
    return policy(host, name)


@contextmanager
def under_way(host: Host, name: str, iterations: int) -> Generator[HostProcess]:
    """Have a run on the cluster that has written a checkpoint, with its driver on a host."""
    process = training(host, name, iterations, "--num-workers", "3", "--address", HEAD)
    try:
        folder = host.path(f"/tmp/{name}") / "checkpoints"
        wait_until(lambda: process.poll() is not None or any(folder.glob("*")))
        assert process.poll() is None, process.communicate()[0]
        yield process
    finally:
        process.kill()


def refusal(host: Host, name: str, address: str = HEAD, **variables: str) -> str:
    """Return the message of a run that must not start."""
    began = time.monotonic()
    words = ["--total-steps", "100", "--run-dir", f"/tmp/{name}", "--address", address]
    process = host.run(*WORDS, *words, **variables)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert output.count("\n") == 1, output
    assert time.monotonic() - began < 20
    assert not host.path(f"/tmp/{name}").exists()
    return output


def test_the_weights_are_the_same_on_no_one_and_three_hosts(hosts: list[Host]) -> None:
    head, *_ = hosts
    expected = undisturbed(head, 10)
    finish(training(head, "one", 10, "--num-workers", "3"))
    assert policy(head, "one") == expected
    process = training(head, "three", 10, "--num-workers", "3", "--address", HEAD)
    wait_until(lambda: all(actors(host, "RolloutActor") == 1 for host in hosts))
    finish(process)
    assert policy(head, "three") == expected


def test_a_cable_that_is_out_for_10_seconds_is_no_loss(hosts: list[Host]) -> None:
    head, second, _ = hosts
    expected = undisturbed(head, 200)
    with under_way(head, "cable", 200) as process:
        second.link("down")
        time.sleep(10)
        assert process.poll() is None
        second.link("up")
        finish(process)
    assert alive(head, **NO_TOKENS) == {host.address for host in hosts}
    assert result(head, "cable")["worker_restarts"] == 0
    assert policy(head, "cable") == expected


def test_a_slow_link_is_no_loss(hosts: list[Host]) -> None:
    head, _, third = hosts
    expected = undisturbed(head, 30)
    third.slow(0.03, jitter_s=0.02, loss=0.01, seed=1)
    try:
        finish(training(head, "slow", 30, "--num-workers", "3", "--address", HEAD))
        assert alive(head, **NO_TOKENS) == {host.address for host in hosts}
    finally:
        third.fast()
    assert result(head, "slow")["worker_restarts"] == 0
    assert policy(head, "slow") == expected


def test_a_driver_that_is_killed_leaves_no_actor_on_any_host(hosts: list[Host]) -> None:
    with under_way(hosts[1], "driver", NEVER) as process:
        assert sum(actors(host) for host in hosts) == 4
        process.kill()
        wait_until(lambda: not any(actors(host) for host in hosts), timeout=20)


def test_a_host_without_power_is_soon_known_as_lost(hosts: list[Host]) -> None:
    head, second, third = hosts
    third.power_off()
    left = {head.address, second.address}
    # 20 s, and what it takes to ask
    wait_until(lambda: alive(head, **NO_TOKENS) == left, timeout=40)


def test_a_lost_head_ends_the_run_with_the_command_that_resumes_it(hosts: list[Host]) -> None:
    head, second, _ = hosts
    expected = undisturbed(second, 200)
    with under_way(second, "head", 200) as process:
        head.power_off()
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "the Ray head node is unreachable" in output
    assert "launch.py resume /tmp/head" in output
    assert "Traceback" not in output
    restore(hosts, CPUS)
    finish(second.run("python", "launch.py", "resume", "/tmp/head", **NO_TOKENS))
    assert policy(second, "head") == expected


def test_who_cannot_join_is_told_why(machines: Network, hosts: list[Host]) -> None:
    _, second, _ = hosts
    stranger = machines.add()
    assert "uses no tokens" in refusal(second, "refused", **token("mine"))
    said = refusal(stranger, "refused", **NO_TOKENS)
    assert f"run `ray start --address {HEAD} --num-cpus 0` here first" in said
    assert "is not a node of one Ray cluster" in refusal(stranger, "refused", "auto", **NO_TOKENS)
    no_port = f"{second.address}:1"
    assert "no Ray cluster answers" in refusal(second, "refused", no_port, **NO_TOKENS)


def test_who_has_not_the_clusters_token_is_told_so(machines: Network) -> None:
    hosts = machines.hosts[:3]
    for host in hosts:
        if host.is_on():
            host.power_off()
    restore(hosts, CPUS, **token("theirs" * 8))
    _, second, _ = hosts
    assert "refuses the one in RAY_AUTH_TOKEN" in refusal(second, "refused", **token("mine" * 8))
    assert "set RAY_AUTH_MODE=token" in refusal(second, "refused", **NO_TOKENS)
    assert "this machine has none" in refusal(second, "refused", RAY_AUTH_MODE="token")
    words = ["--total-steps", "100", "--num-workers", "1", "--address", "auto"]
    finish(second.run(*WORDS, *words, "--run-dir", "/tmp/joined", **token("theirs" * 8)))
