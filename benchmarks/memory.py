"""Memory of a run's processes while it trains: cartpole-ppo, a driver, a learner and two workers.

    python -m benchmarks.memory

Proportional set size (PSS): a page that several processes share counts for each by its share, Ray's
object store too. Other processes that map the same libraries make the figure smaller, so let no
other run share the machine. Medians of several samples, a while after the start. Ray's own
processes stand apart. Linux alone. Keeps results/memory.json.
"""

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.results import environment, hardware, save, train_command

TARGET_GB = 1.2
OURS = ("driver", "learner", "worker")
ROLES = {"LearnerActor": "learner", "RolloutActor": "worker"}
FLAGS = ["--config", "cartpole-ppo", "--stop-at-return", "none", "--total-steps", "1000000000"]


def pss_gb(process: psutil.Process) -> float:
    """Read a process's proportional set size."""
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("Pss:"))
    return int(kib) * 1024 / 1e9


def role(process: psutil.Process) -> str:
    """Say what a process below the driver is: one of ours, or the name of one of Ray's."""
    title = " ".join(process.cmdline())
    ours = (name for actor, name in ROLES.items() if actor in title)
    return next(ours, f"Ray's {process.name().partition(' ')[0]}")


def sample(driver: psutil.Process) -> dict[str, float]:
    """Measure every process of a run once; two of a role are numbered."""
    found = {"driver": pss_gb(driver)}
    for process in sorted(driver.children(recursive=True), key=lambda below: below.pid):
        try:
            kind, size = role(process), pss_gb(process)
        except (psutil.Error, OSError):
            # it ended meanwhile
            continue
        number = sum(name.rpartition(" ")[0] == kind for name in found)
        found[f"{kind} {number}"] = size
    return found


def is_ours(name: str) -> bool:
    """Tell the run's own processes from Ray's."""
    return name.split()[0] in OURS


def samples_of_a_run(count: int, every_s: float) -> list[dict[str, float]]:
    """Start a run, measure it once a first checkpoint shows that it trains, end it."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = train_command([*FLAGS, "--run-dir", str(run)])
        process = subprocess.Popen(command, env=environment(), start_new_session=True)
        try:
            deadline = time.monotonic() + 120
            while not list((run / "checkpoints").glob("[0-9]*")):
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit("the run came to no checkpoint")
                time.sleep(0.2)
            found: list[dict[str, float]] = []
            for _ in range(count):
                time.sleep(every_s)
                found.append(sample(psutil.Process(process.pid)))
            return found
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def main() -> None:
    """Measure and print each process's share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=15)
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS")
    options = parser.parse_args()
    if not Path("/proc/self/smaps_rollup").exists():
        print("there is no /proc/PID/smaps_rollup here; Linux has it")
        sys.exit(2)
    samples = samples_of_a_run(options.samples, options.every)
    names = list(dict.fromkeys(name for sample in samples for name in sample))
    medians = {name: statistics.median(x[name] for x in samples if name in x) for name in names}
    sums = {
        side: statistics.median(
            sum(size for name, size in sample.items() if is_ours(name) == mine)
            for sample in samples
        )
        for side, mine in (("run", True), ("ray", False))
    }
    for name in sorted(names, key=lambda name: (not is_ours(name), -medians[name])):
        print(f"{name:24} {medians[name]:6.3f} GB")
    print(f"{'the run':24} {sums['run']:6.3f} GB  target <= {TARGET_GB} GB")
    print(f"{'Ray itself, apart':24} {sums['ray']:6.3f} GB")
    content: dict[str, Any] = {"target_gb": TARGET_GB, "pss_gb": sums, "by_process": medians}
    save("memory", {**hardware(), **content, "samples": samples})


if __name__ == "__main__":
    main()
