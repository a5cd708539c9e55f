"""CPU time of the driver per worker and iteration, beside that of bare Ray.

    python -m benchmarks.driver

The environment sleeps 10 ms a step, so an iteration takes at least 0.64 s; one slot a worker, one
env a slot. Counted are user and system time of the driver's process, all threads, Ray's among them,
over 20 iterations after a warm-up. In turn with it runs `benchmarks.bare_ray`, which makes the same
calls with data of the same size. Each run has a Ray of its own. Medians of the runs. Keeps
results/driver.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.events import iterations
from benchmarks.results import environment, hardware, save, trained
from benchmarks.slow_env import STEP_S
from distpg import Watcher
from distpg.iteration import Iteration

GOAL_MS, MUST_MS = 0.9, 1.1
WARM_UP, MEASURED = 10, 20
"""Iterations."""
OBS_SIZE = 1024
"""Numbers in an observation: a rollout of 64 steps is 0.27 MB, which Ray passes by reference."""
TAG = "driver/cpu_s"
FLAGS = [
    *("--env-id", "benchmarks.slow_env:Slow-v0", "--env-kwargs", f'{{"obs_size": {OBS_SIZE}}}'),
    *("--num-envs", "1", "--hidden-sizes", "8", "--num-epochs", "1", "--minibatch-size", "none"),
    *("--no-normalize-obs", "--device", "cpu", "--gradient-stats-every", "0"),
    *("--checkpoint-every", "0", "--watcher", "benchmarks.driver:CpuTime"),
]


class CpuTime(Watcher):
    """Logs the CPU time that each iteration took of the driver's process."""

    def __init__(self) -> None:
        """Start counting."""
        self.before = time.process_time()

    def on_iteration(self, iteration: Iteration) -> dict[str, float]:
        """Return the seconds since the last iteration."""
        before, self.before = self.before, time.process_time()
        return {TAG: self.before - before}


def distpg_s(workers: int, num_steps: int) -> list[float]:
    """Train once; return the driver's CPU seconds of each iteration but the first."""
    total = workers * num_steps * (WARM_UP + MEASURED + 1)
    sizes = {"num-workers": workers, "num-slots": workers, "num-steps": num_steps}
    flags = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    with trained([*FLAGS, *flags, "--total-steps", str(total)]) as run:
        return [row[TAG] for row in iterations(run, [TAG])]


def bare_s(workers: int, num_steps: int) -> list[float]:
    """Run bare Ray once; return the same."""
    sizes = {"workers": workers, "num-steps": num_steps, "obs-size": OBS_SIZE}
    sizes["iterations"] = WARM_UP + MEASURED + 1
    flags = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    command = [sys.executable, "-m", "benchmarks.bare_ray", *flags]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure both sides in turn at each number of workers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 16, 32, 48])
    parser.add_argument("--num-steps", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-save", action="store_true", help="print the figures alone")
    options = parser.parse_args()
    table: dict[int, Any] = {}
    print("workers  distpg ms  bare Ray ms  target")
    for workers in options.workers:
        each: dict[str, list[float]] = {"distpg_ms": [], "bare_ray_ms": []}
        for _ in range(options.runs):
            for name, side in (("distpg_ms", distpg_s), ("bare_ray_ms", bare_s)):
                spent_s = sum(side(workers, options.num_steps)[WARM_UP:])
                each[name].append(1000 * spent_s / (workers * MEASURED))
        row = {name: statistics.median(found) for name, found in each.items()}
        table[workers] = {**row, "each": each}
        print(
            f"{workers:7} {row['distpg_ms']:10.2f} {row['bare_ray_ms']:12.2f}  "
            f"<= {GOAL_MS} (must {MUST_MS})",
            flush=True,
        )
    if not options.no_save:
        sizes = {"num_steps": options.num_steps, "step_s": STEP_S, "obs_size": OBS_SIZE}
        counts = {"warm_up": WARM_UP, "measured": MEASURED}
        targets = {"goal_ms": GOAL_MS, "must_ms": MUST_MS}
        save("driver", {**hardware(), **sizes, **counts, **targets, "by_workers": table})


if __name__ == "__main__":
    main()
