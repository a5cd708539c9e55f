"""Checks of a machine, or of every node of a cluster, from what is known about them."""

import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distpg.doctor.check import Check, Status
from distpg.doctor.facts import free, gather
from distpg.doctor.process import Report

GB = 10**9
OBJECT_STORE_SHARE = 0.3
"""Of memory, that Ray takes for its object store."""
OBJECT_STORE_FLOOR = 10 * GB
"""Above this Ray makes do with what /dev/shm has."""
MANY_FILES, FEW_FILES = 65535, 1024
FEW_CORES, FEW_GB = 2, 2
LITTLE_DISK, SOME_DISK = GB // 2, 5 * GB
SHOWN = 3
"""Nodes named in a line."""


@dataclass(frozen=True)
class Node:
    """A machine; sizes in bytes."""

    host: str
    versions: dict[str, str | None]
    """None: not installed."""
    cores: int
    memory: int
    shared_memory: int | None
    """Free; None where there is no such thing, as on macOS."""
    temp: str
    temp_free: int | None
    temp_writable: bool
    open_files: int
    """The soft limit; -1 is none."""
    gpus: int
    """That the driver, or Ray, knows."""
    torch_gpus: int
    torch_error: str


def local() -> Iterator[Report]:
    """Check this machine for a run of its own."""
    yield "machine"
    yield from judge([Node(**gather())], joined=False)
    yield from driver()


def driver() -> Iterator[Report]:
    """Check what only the process that starts the run needs."""
    yield "runs folder"
    yield runs_folder(Path("runs"))
    yield "loopback"
    yield loopback()


def judge(nodes: Sequence[Node], *, joined: bool) -> Iterator[Check]:
    """Check machines, which are the nodes of one cluster if there are several."""
    yield versions(nodes)
    yield resources(nodes)
    yield worst(
        "shared memory",
        nodes,
        shared_memory,
        "enlarge /dev/shm (docker run --shm-size), else rollouts pass through the disk",
    )
    advice = "free some, or set TMPDIR, and start Ray with --temp-dir, to a folder with more"
    yield worst("temp folder", nodes, temp_folder, advice)
    yield worst(
        "open files",
        nodes,
        lambda node: open_files(node, joined=joined),
        f"ulimit -n {MANY_FILES} before Ray is started there",
    )
    yield worst("GPU", nodes, gpu, "install the torch that fits the driver, or take --device cpu")


def versions(nodes: Sequence[Node]) -> Check:
    """Compare versions: what crosses between nodes is pickled, and bits depend on the code."""
    hosts_of: dict[str, dict[str | None, list[str]]] = defaultdict(lambda: defaultdict(list))
    for node in nodes:
        for package, version in node.versions.items():
            hosts_of[package][version].append(node.host)
    missing = [
        f"{package} on {named(hosts[None])}" for package, hosts in hosts_of.items() if None in hosts
    ]
    if missing:
        found = f"missing: {', '.join(missing)}"
        return Check("FAIL", "versions", found, "pip install it there, as on this machine")
    unequal = [
        f"{package} " + ", ".join(f"{version} on {named(on)}" for version, on in hosts.items())
        for package, hosts in hosts_of.items()
        if len(hosts) > 1
    ]
    if unequal:
        advice = "install the same versions on every node"
        return Check("FAIL", "versions", "; ".join(unequal), advice)
    same = ", ".join(f"{package} {version}" for package, version in nodes[0].versions.items())
    return Check("PASS", "versions", same + (f"; on {len(nodes)} nodes" if len(nodes) > 1 else ""))


def named(hosts: Sequence[str]) -> str:
    """List hosts, the first few by name."""
    more = len(hosts) - SHOWN
    return ", ".join(hosts[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def worst(
    name: str, nodes: Sequence[Node], check: Callable[[Node], tuple[Status, str]], advice: str
) -> Check:
    """Check every node; what is worst on any of them counts, and is what is shown."""
    judged: list[tuple[Status, str, str]] = [(*check(node), node.host) for node in nodes]
    statuses = {own for own, _, _ in judged}
    status: Status = "FAIL" if "FAIL" in statuses else "WARN" if "WARN" in statuses else "PASS"
    hosts_of: dict[str, list[str]] = defaultdict(list)
    for own, found, host in judged:
        if own == status:
            hosts_of[found].append(host)
    if len(nodes) == 1:
        found = next(iter(hosts_of))
    else:
        parts = [f"{found} on {named(hosts)}" for found, hosts in hosts_of.items()]
        found = "; ".join(parts[:SHOWN]) + ("; ..." if len(parts) > SHOWN else "")
    return Check(status, name, found, "" if status == "PASS" else advice)


def resources(nodes: Sequence[Node]) -> Check:
    """Count what there is: a worker and the learner want a core each, and a process half a GB."""
    cores, gpus = sum(node.cores for node in nodes), sum(node.gpus for node in nodes)
    sizes = [node.memory / GB for node in nodes]
    found = f"{cores} CPUs, {gpus} GPUs, {sum(sizes):.1f} GB of memory"
    if cores >= FEW_CORES and min(sizes) >= FEW_GB:
        return Check("PASS", "resources", found)
    advice = (
        f"{FEW_CORES} CPUs, and {FEW_GB} GB on each machine, are what a worker and a learner need"
    )
    return Check("WARN", "resources", found, advice)


def shared_memory(node: Node) -> tuple[Status, str]:
    """Ray keeps rollouts in /dev/shm if its object store fits in there."""
    if node.shared_memory is None:
        return "PASS", "no /dev/shm: Ray's object store is in the temp folder"
    store = min(OBJECT_STORE_SHARE * node.memory, OBJECT_STORE_FLOOR)
    free_gb, store_gb = node.shared_memory / GB, store / GB
    found = f"/dev/shm has {free_gb:.2f} GB free; Ray's object store takes {store_gb:.2f}"
    return ("PASS" if node.shared_memory >= store else "WARN"), found


def temp_folder(node: Node) -> tuple[Status, str]:
    """Ray's sockets, logs and spilled objects are in there."""
    return space(node.temp, node.temp_free, writable=node.temp_writable)


def space(folder: str, free_bytes: int | None, *, writable: bool) -> tuple[Status, str]:
    """Judge a folder that a run writes to."""
    if not writable or free_bytes is None:
        return "FAIL", f"{folder} cannot be written"
    found = f"{folder} has {free_bytes / GB:.1f} GB free"
    if free_bytes < LITTLE_DISK:
        return "FAIL", found
    return ("WARN" if free_bytes < SOME_DISK else "PASS"), found


def open_files(node: Node, *, joined: bool) -> tuple[Status, str]:
    """Ray holds a socket or more for each process of the cluster."""
    if node.open_files < 0:
        return "PASS", "no limit"
    enough = MANY_FILES if joined else FEW_FILES
    few = "WARN" if node.open_files < enough else "PASS"
    return ("FAIL" if node.open_files < FEW_FILES else few), f"at most {node.open_files} a process"


def gpu(node: Node) -> tuple[Status, str]:
    """A GPU that torch does not see is idle."""
    if node.torch_error:
        return "FAIL", f"torch cannot be imported: {node.torch_error}"
    if node.torch_gpus:
        return "PASS", f"torch sees {node.torch_gpus}"
    if node.gpus:
        return "WARN", f"{node.gpus} there, but torch sees none: learner on CPU"
    return "PASS", "none: learner on CPU"


def runs_folder(folder: Path) -> Check:
    """See that runs can be written here."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    writable = there.is_dir() and os.access(there, os.W_OK)
    status, found = space(f"{folder}/", free(there), writable=writable)
    advice = "" if status == "PASS" else "free some, or name another place with --run-dir"
    return Check(status, "runs folder", found, advice)


def loopback() -> Check:
    """Connect to a port of 127.0.0.1, over which a run of its own talks to its processes."""
    began = time.perf_counter()
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
    took = time.perf_counter() - began
    return Check("PASS", "loopback", f"a port of 127.0.0.1 answers in {1000 * took:.2f} ms")
