"""Checks of this machine, or of all nodes of a cluster, given the facts about them."""

import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distpg.doctor.check import Begin, Check, Report, Status
from distpg.doctor.facts import free_bytes, gather

GB = 10**9
OBJECT_STORE_FRACTION = 0.3
"""Fraction of memory that Ray reserves for its object store."""
OBJECT_STORE_CAP = 10 * GB
"""Above this size Ray shrinks the object store to fit into /dev/shm."""
CLUSTER_FILES, MIN_FILES = 65535, 1024
"""Open files per process: recommended on a cluster, and required anywhere."""
MIN_CORES, MIN_MEMORY_GB = 2, 2
MIN_DISK, LOW_DISK = GB // 2, 5 * GB
MAX_LISTED = 3
"""Hosts listed by name in one line."""


@dataclass(frozen=True)
class Node:
    """A machine; sizes in bytes."""

    host: str
    versions: dict[str, str | None]
    """None if not installed."""
    cores: int
    memory: int
    shared_memory: int | None
    """Free; None if there is no /dev/shm, as on macOS."""
    temp: str
    temp_free: int | None
    temp_writable: bool
    open_files: int
    """Soft limit per process; -1 means no limit."""
    gpus: int
    """As counted by the driver or Ray."""
    torch_gpus: int
    torch_error: str


def local() -> Iterator[Report]:
    """Check this machine for a run without --address."""
    yield Begin("machine")
    yield from judge([Node(**gather())], joined=False)
    yield from driver()


def driver() -> Iterator[Report]:
    """Check what is needed only by the process that starts the run."""
    yield Begin("runs folder")
    yield runs_folder(Path("runs"))
    yield Begin("loopback")
    yield loopback()


def judge(nodes: Sequence[Node], *, joined: bool) -> Iterator[Check]:
    """Check this machine, or all nodes of a cluster.

    Args:
        nodes: One, or several of the same cluster.
        joined: Whether the run joins a cluster instead of starting a local Ray instance.
    """
    yield versions(nodes)
    yield resources(nodes)
    yield check_nodes(
        "shared memory",
        nodes,
        shared_memory,
        "enlarge /dev/shm (docker run --shm-size), otherwise rollouts go through the disk",
    )
    advice = "free some, or use a larger folder: set TMPDIR, or start Ray with --temp-dir"
    yield check_nodes("temp folder", nodes, temp_folder, advice)
    yield check_nodes(
        "open files",
        nodes,
        lambda node: open_files(node, joined=joined),
        f"run `ulimit -n {CLUSTER_FILES}` there before starting Ray",
    )
    yield check_nodes(
        "GPU", nodes, gpu, "install a torch that matches the driver, or use --device cpu"
    )


def versions(nodes: Sequence[Node]) -> Check:
    """Check that versions are equal: nodes exchange pickles, and bits depend on the code."""
    hosts_of: dict[str, dict[str | None, list[str]]] = defaultdict(lambda: defaultdict(list))
    for node in nodes:
        for package, version in node.versions.items():
            hosts_of[package][version].append(node.host)
    missing = [
        f"{package} on {list_hosts(hosts[None])}"
        for package, hosts in hosts_of.items()
        if None in hosts
    ]
    if missing:
        found = f"missing: {', '.join(missing)}"
        return Check("FAIL", "versions", found, "pip install the version of this machine there")
    unequal = [
        f"{package} " + ", ".join(f"{version} on {list_hosts(on)}" for version, on in hosts.items())
        for package, hosts in hosts_of.items()
        if len(hosts) > 1
    ]
    if unequal:
        advice = "install the same versions on every node"
        return Check("FAIL", "versions", "; ".join(unequal), advice)
    same = ", ".join(f"{package} {version}" for package, version in nodes[0].versions.items())
    return Check("PASS", "versions", same + (f"; on {len(nodes)} nodes" if len(nodes) > 1 else ""))


def list_hosts(hosts: Sequence[str]) -> str:
    """List hosts in a message: the first few by name, and how many more there are."""
    more = len(hosts) - MAX_LISTED
    return ", ".join(hosts[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def check_nodes(
    name: str, nodes: Sequence[Node], check: Callable[[Node], tuple[Status, str]], advice: str
) -> Check:
    """Check every node; report the worst status, with the findings and hosts that have it."""
    judged: list[tuple[Status, str, str]] = [(*check(node), node.host) for node in nodes]
    statuses = {status for status, _, _ in judged}
    worst: Status = "FAIL" if "FAIL" in statuses else "WARN" if "WARN" in statuses else "PASS"
    hosts_of: dict[str, list[str]] = defaultdict(list)
    for status, found, host in judged:
        if status == worst:
            hosts_of[found].append(host)
    if len(nodes) == 1:
        found = next(iter(hosts_of))
    else:
        parts = [f"{found} on {list_hosts(hosts)}" for found, hosts in hosts_of.items()]
        found = "; ".join(parts[:MAX_LISTED]) + ("; ..." if len(parts) > MAX_LISTED else "")
    return Check(worst, name, found, "" if worst == "PASS" else advice)


def resources(nodes: Sequence[Node]) -> Check:
    """Check CPUs and memory: worker and learner need a core each, and a process half a GB."""
    cores, gpus = sum(node.cores for node in nodes), sum(node.gpus for node in nodes)
    sizes = [node.memory / GB for node in nodes]
    found = f"{cores} CPUs, {gpus} GPUs, {sum(sizes):.1f} GB of memory"
    if cores >= MIN_CORES and min(sizes) >= MIN_MEMORY_GB:
        return Check("PASS", "resources", found)
    advice = f"a worker and a learner need {MIN_CORES} CPUs, and {MIN_MEMORY_GB} GB on each machine"
    return Check("WARN", "resources", found, advice)


def shared_memory(node: Node) -> tuple[Status, str]:
    """Check /dev/shm: Ray keeps rollouts there if its object store fits."""
    if node.shared_memory is None:
        return "PASS", "no /dev/shm: Ray's object store is in the temp folder"
    store = min(OBJECT_STORE_FRACTION * node.memory, OBJECT_STORE_CAP)
    free_gb, store_gb = node.shared_memory / GB, store / GB
    found = f"/dev/shm has {free_gb:.2f} GB free; Ray's object store needs {store_gb:.2f}"
    return ("PASS" if node.shared_memory >= store else "WARN"), found


def temp_folder(node: Node) -> tuple[Status, str]:
    """Check the folder of Ray's sockets, logs and spilled objects."""
    return disk_space(node.temp, node.temp_free, writable=node.temp_writable)


def disk_space(folder: str, free: int | None, *, writable: bool) -> tuple[Status, str]:
    """Check that a folder is writable and has free space, in bytes."""
    if not writable or free is None:
        return "FAIL", f"{folder} cannot be written"
    found = f"{folder} has {free / GB:.1f} GB free"
    if free < MIN_DISK:
        return "FAIL", found
    return ("WARN" if free < LOW_DISK else "PASS"), found


def open_files(node: Node, *, joined: bool) -> tuple[Status, str]:
    """Check the limit on open files: Ray needs at least one socket per process of the cluster."""
    if node.open_files < 0:
        return "PASS", "no limit"
    found = f"at most {node.open_files} per process"
    if node.open_files < MIN_FILES:
        return "FAIL", found
    return ("WARN" if joined and node.open_files < CLUSTER_FILES else "PASS"), found


def gpu(node: Node) -> tuple[Status, str]:
    """Check that torch sees the GPUs."""
    if node.torch_error:
        return "FAIL", f"torch cannot be imported: {node.torch_error}"
    if node.torch_gpus:
        return "PASS", f"torch sees {node.torch_gpus}"
    if node.gpus:
        return "WARN", f"{node.gpus} present, but torch sees none: learner on CPU"
    return "PASS", "none: learner on CPU"


def runs_folder(folder: Path) -> Check:
    """Check that runs can be written to a folder, which may not exist yet."""
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    writable = parent.is_dir() and os.access(parent, os.W_OK)
    status, found = disk_space(f"{folder}/", free_bytes(parent), writable=writable)
    advice = "" if status == "PASS" else "free some space, or use another folder with --run-dir"
    return Check(status, "runs folder", found, advice)


def loopback() -> Check:
    """Connect to a port of 127.0.0.1, which the processes of a local Ray instance use."""
    began = time.perf_counter()
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
    took = time.perf_counter() - began
    return Check("PASS", "loopback", f"a port of 127.0.0.1 answers in {1000 * took:.2f} ms")
