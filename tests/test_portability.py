"""What differs between platforms and between Ray versions, behind one function each."""

import ast
import os
import resource
import shlex
import signal
import socket
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray._private import ray_constants, services, utils, worker
from ray._private.node import Node

from distpg import Config, InputError, RunError
from distpg.actors import cluster, head
from distpg.actors.ray_internals import (
    TESTED,
    check_loopback,
    missing,
    no_op,
    on_loopback,
    patched_ray,
    running_cluster,
    without_agent,
)
from distpg.doctor import facts
from distpg.learner.device import default_threads
from distpg.spaces import Leaf, ObsSpec
from tests.test_cli import assert_refused

ROOT = Path(__file__).parents[1]


def returning(value: Any) -> Callable[..., Any]:
    def call(*_: object, **__: object) -> Any:
        return value

    return call


# ----- CPUs and limits


@pytest.fixture
def quota_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for /sys/fs/cgroup."""
    folders = [tuple(str(tmp_path / Path(x).name) for x in paths) for paths in facts.CPU_QUOTAS]
    monkeypatch.setattr(facts, "CPU_QUOTAS", folders)
    monkeypatch.setattr(os, "cpu_count", returning(8))
    monkeypatch.setattr(os, "sched_getaffinity", returning(set(range(6))), raising=False)
    return tmp_path


def test_affinity_bounds_the_cores(quota_files: Path) -> None:
    assert facts.cores() == 6


def test_a_platform_without_affinity_counts_all_cpus(
    quota_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert facts.cores() == 8
    monkeypatch.setattr(os, "cpu_count", returning(None))
    assert facts.cores() == 1


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "900000 100000\n"}, 6),
        ({"cpu.max": "max 100000\n"}, 6),
        ({"cpu.cfs_quota_us": "300000\n", "cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, 6),
    ],
)
def test_a_containers_quota_bounds_the_cores(
    quota_files: Path, files: dict[str, str], cores: int
) -> None:
    for name, content in files.items():
        (quota_files / name).write_text(content)
    assert facts.cores() == cores


def test_learner_threads_for_images_are_the_cores_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("distpg.learner.device.cores", returning(3))
    image = Leaf("obs", (), (84, 84, 4), "uint8", "image")
    vector = Leaf("obs", (), (4,), "float32", "vector")
    assert default_threads(ObsSpec((image,)), 64) == 3
    assert default_threads(ObsSpec((vector,)), 4096) == 2
    assert default_threads(ObsSpec((vector,)), 64) == default_threads(ObsSpec((vector,)), None) == 1


def test_only_the_facts_ask_the_platform_for_cpus() -> None:
    names = {"cpu_count", "sched_getaffinity", "process_cpu_count"}
    found = {
        file.relative_to(ROOT).as_posix()
        for folder in ("distpg", "benchmarks", "examples")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in names
    }
    assert found == {"distpg/doctor/facts.py"}


def test_no_limit_of_open_files_is_minus_one_on_every_platform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "RLIM_INFINITY", 2**63 - 1)
    monkeypatch.setattr(resource, "getrlimit", returning((2**63 - 1, 2**63 - 1)))
    assert facts.open_files() == -1
    monkeypatch.setattr(resource, "getrlimit", returning((1024, 2**63 - 1)))
    assert facts.open_files() == 1024


# ----- Ray's private names


def test_two_files_know_rays_private_names() -> None:
    found = {x.name for x in (ROOT / "distpg").rglob("*.py") if "ray._private" in x.read_text()}
    assert found == {"ray_internals.py", "gcs.py"}


def test_the_tested_versions_are_those_that_pyproject_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert TESTED in project["dependencies"]


def test_the_installed_ray_has_all_names() -> None:
    assert missing() == ""


def test_private_functions_are_replaced_within_a_session_only() -> None:
    before = (utils.set_sigterm_handler, worker.print_to_stdstream, Node.start_monitor)
    said: list[str] = []
    with patched_ray(said.append):
        assert utils.set_sigterm_handler is worker.print_to_stdstream is Node.start_monitor is no_op
    assert (utils.set_sigterm_handler, worker.print_to_stdstream, Node.start_monitor) == before
    assert not said


def test_the_stand_in_of_an_agent_reports_no_port_and_ends_with_its_parent_but_not_at_ctrl_c(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a session"
    folder.mkdir()
    agent = ["python", "agent.py", "--node-id=ab12", "--listen-port=0", f"--session-dir={folder}"]
    word = f"--runtime_env_agent_command={subprocess.list2cmdline(agent)}"
    option, _, command = without_agent(word).partition("=")
    assert option == "--runtime_env_agent_command"
    process = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE)
    try:
        port = folder / "runtime_env_agent_port_ab12"
        deadline = time.monotonic() + 20
        while not port.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [int(port.read_text()), *folder.iterdir()] == [-1, port]
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.communicate(timeout=20)
        assert process.returncode == 0
    finally:
        process.kill()


def test_other_words_of_a_command_are_left_as_they_are() -> None:
    assert [without_agent(word) for word in ("raylet", "--head", "--node-id=1")] == [
        "raylet",
        "--head",
        "--node-id=1",
    ]


def test_names_that_a_ray_version_lacks_are_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(worker, "print_to_stdstream")
    monkeypatch.delattr(Node, "start_log_monitor")
    said: list[str] = []
    with patched_ray(said.append):
        assert utils.set_sigterm_handler is no_op
    (line,) = said
    expected = (
        f"ray {ray.__version__} has no ray._private.worker.print_to_stdstream, Node.start_log"
    )
    assert line.startswith(expected)
    assert line.endswith(TESTED)
    assert "\n" not in line
    assert not hasattr(worker, "print_to_stdstream")


@pytest.fixture
def without_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray version that cannot be restricted to loopback."""
    monkeypatch.delattr(ray_constants, "ENABLE_RAY_CLUSTER")
    yield
    assert not ray.is_initialized()


def test_a_ray_that_cannot_be_kept_on_loopback_is_refused_before_it_starts(
    without_loopback: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["train", "--num-workers", "1", "--run-dir", str(run)]
    problem = f"ray {ray.__version__} has no ray_constants.ENABLE_RAY_CLUSTER"
    assert_refused(words, [problem, f"pip install '{TESTED}'", "--num-workers 0"], capsys)
    assert not run.exists()


@pytest.mark.parametrize("address", ["10.0.0.7:6379", "0.0.0.0:6379", "[fe80::1]:6379", ""])
def test_an_address_that_others_reach_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="reachable from other machines"):
        check_loopback(address)


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "[::1]:6379"])
def test_an_address_on_loopback_passes(address: str) -> None:
    check_loopback(address)


def test_a_local_ray_beyond_loopback_is_shut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    context = SimpleNamespace(gcs_address="10.0.0.7:6379")

    def start(**_: object) -> None:
        calls.append("init")

    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
    monkeypatch.setattr(ray, "get_runtime_context", returning(context))
    session = cluster.local_ray(Config(num_workers=1), no_op)
    with pytest.raises(InputError, match=r"listens on 10\.0\.0\.7:6379"), session:
        calls.append("used")
    assert calls == ["init", "shutdown"]


def test_a_local_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", time_out)
    session = cluster.local_ray(Config(num_workers=1), no_op)
    with pytest.raises(RunError, match="did not start: Exception: The current node"), session:
        pass


def test_loopback_is_asked_for_within_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    with on_loopback():
        assert services.get_node_ip_address() == "127.0.0.1"
    assert ray_constants.ENABLE_RAY_CLUSTER is True


def test_a_ray_that_cannot_find_a_cluster_needs_host_and_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(services, "canonicalize_bootstrap_address_or_die")
    with pytest.raises(InputError, match="pass host:port"):
        running_cluster()
    session = cluster.joined_ray("auto", no_op)
    with pytest.raises(InputError, match="pass host:port"), session:
        pass


def test_a_head_node_is_pinged_by_ipv6_too() -> None:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
        except OSError:
            pytest.skip("no IPv6 here")
        head.ping(f"[::1]:{server.getsockname()[1]}")
