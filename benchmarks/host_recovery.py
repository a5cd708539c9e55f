"""Seconds that the loss of a process, of a host or of its cable takes out of a run on three hosts.

    python -m benchmarks.host_recovery

The hosts are namespaces of this machine (tests/hosts.py). Each fault comes after some iterations of
a run of its own, in which an env steps for 10 ms; the figure is the longest pause between the ends
of two iterations from the fault on, and the length of the median iteration stands beside it. That a
host without power is lost takes Ray about 20 s to know, with the variables of cluster/README.md.
Keeps results/host_recovery.json.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from signal import SIGKILL
from typing import Any

from benchmarks.results import hardware, save
from tests.host_cluster import NO_TOKENS, restore
from tests.hosts import Host, Network, network, why_none

HEAD = "10.77.0.10:6379"
WORDS = [
    *("python", "launch.py", "train", "--env-id", "benchmarks.slow_env:Slow-v0", "--quiet"),
    *("--num-envs", "1", "--num-steps", "32", "--hidden-sizes", "64", "--num-epochs", "1"),
    *("--minibatch-size", "none", "--device", "cpu", "--compile", "off", "--address", HEAD),
    *("--total-steps", "1000000", "--run-dir", "/tmp/run"),
]
BEFORE, AFTER = 25, 10
"""Iterations before the fault, and after the pause."""
PATIENCE_S = 180.0
TARGET_S = 30


@dataclass(frozen=True)
class Fault:
    """What happens, and to which cluster."""

    what: str
    cpus: list[int]
    workers: int
    happen: Callable[[list[Host]], None]


def kill(name: str) -> Callable[[list[Host]], None]:
    """Return what kills the last process of a class."""

    def happen(hosts: list[Host]) -> None:
        *_, process = [one for host in hosts for one in host.processes(f"ray::{name}")]
        process.send_signal(SIGKILL)

    return happen


def power_off(name: str) -> Callable[[list[Host]], None]:
    """Return what powers off the host with the most processes of a class, the last of several."""

    def happen(hosts: list[Host]) -> None:
        host = max(reversed(hosts), key=lambda host: len(host.processes(f"ray::{name}")))
        host.power_off()

    return happen


def pull_cable(hosts: list[Host]) -> None:
    """Take the last host's link down for 10 s."""
    hosts[-1].link("down")
    time.sleep(10)
    hosts[-1].link("up")


FAULTS = [
    Fault("worker killed", [2, 1, 1], 3, kill("RolloutActor")),
    Fault("learner killed", [2, 1, 1], 3, kill("LearnerActor")),
    Fault("host of a worker off, a CPU free", [3, 1, 1], 3, power_off("RolloutActor")),
    Fault("host of a worker off, cluster full", [2, 1, 1], 3, power_off("RolloutActor")),
    Fault("host of the learner off, cluster full", [0, 2, 2], 3, power_off("LearnerActor")),
    Fault("cable out for 10 s", [2, 1, 1], 3, pull_cable),
    Fault("host of 31 of 33 workers off", [2, 32, 32], 33, power_off("RolloutActor")),
]


def ends(table: Path) -> int:
    """Return how many iterations have ended."""
    return table.read_text().count("\n") - 1 if table.exists() else 0


def pause_s(made: Network, fault: Fault) -> dict[str, float]:
    """Have a run suffer a fault; return the pause, an iteration and the start, in seconds."""
    for host in made.hosts:
        if host.is_on():
            host.power_off()
    restore(made.hosts, fault.cpus)
    head = made.hosts[0]
    # of the fault before
    shutil.rmtree(head.path("/tmp/run"), ignore_errors=True)
    workers = ["--num-workers", str(fault.workers), "--num-slots", str(fault.workers)]
    process = head.run(*WORDS, *workers, **NO_TOKENS)
    times: list[float] = []
    fault_at, table = 0.0, head.path("/tmp/run") / "progress.csv"
    began = time.monotonic()
    try:
        while not fault_at or len([x for x in times if x > fault_at]) < AFTER:
            if process.poll() is not None or time.monotonic() > began + PATIENCE_S:
                sys.exit(f"{fault.what}: {process.communicate()[0]}")
            times += [time.monotonic()] * (ends(table) - len(times))
            if not fault_at and len(times) >= BEFORE:
                fault_at = time.monotonic()
                fault.happen(made.hosts)
            time.sleep(0.02)
    finally:
        process.kill()
    lengths = [(after - before, after) for before, after in pairwise(times)]
    usual = statistics.median(length for length, end in lengths if end < fault_at)
    pause = max(x for x, end in lengths if end >= fault_at)
    return {"pause_s": pause, "iteration_s": usual, "start_s": times[0] - began}


def main() -> None:
    """Measure each fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-save", action="store_true", help="print the figures alone")
    options = parser.parse_args()
    if reason := why_none():
        sys.exit(reason)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, network(3, Path(folder)) as made:
        for fault in FAULTS:
            found[fault.what] = pause_s(made, fault)
            print(
                f"{fault.what:38} {found[fault.what]['pause_s']:6.1f} s, an iteration "
                f"{found[fault.what]['iteration_s']:.2f} s, the start "
                f"{found[fault.what]['start_s']:.1f} s   target <= {TARGET_S} s",
                flush=True,
            )
    if not options.no_save:
        save("host_recovery", {**hardware(), "target_s": TARGET_S, "faults": found})


if __name__ == "__main__":
    main()
