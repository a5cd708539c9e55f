"""Collection with more and more workers on one machine, of an environment whose steps take 10 ms.

    python -m benchmarks.scaling

One slot a worker, one env a slot: the batch grows with the workers, and 48 of them should play 48
times as many steps a second as one. The environment sleeps through its steps, so what is measured
is what the workers, Ray and the driver add, and cores are short only for that. The rate is that of
the median iteration, update and all; each run starts a Ray of its own. Keeps results/scaling.json.
"""

import argparse
import statistics
from typing import Any

from benchmarks.events import iterations
from benchmarks.results import hardware, save, trained
from benchmarks.slow_env import STEP_S

TARGET = 0.92
TAGS = ("perf/collect_s", "perf/broadcast_s", "perf/idle_s", "perf/update_s")
FLAGS = [
    *("--env-id", "benchmarks.slow_env:Slow-v0", "--num-envs", "1", "--hidden-sizes", "8"),
    *("--num-epochs", "1", "--minibatch-size", "none", "--no-normalize-obs", "--device", "cpu"),
    *("--gradient-stats-every", "0", "--checkpoint-every", "0"),
]


def measure(workers: int, num_steps: int, count: int) -> dict[str, float]:
    """Train once; return steps per second, and where the median iteration's seconds went."""
    batch = workers * num_steps
    sizes = {"workers": workers, "slots": workers, "steps": num_steps}
    flags = [word for name, size in sizes.items() for word in (f"--num-{name}", str(size))]
    with trained([*FLAGS, *flags, "--total-steps", str(batch * (count + 1))]) as run:
        rows = iterations(run, TAGS)
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return {"steps_per_s": batch / medians["iteration_s"], **medians}


def main() -> None:
    """Measure each number of workers and compare it with one worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 16, 32, 48])
    parser.add_argument("--num-steps", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=15, help="that count, of each run")
    parser.add_argument("--no-save", action="store_true", help="print the figures alone")
    options = parser.parse_args()
    if options.workers[0] != 1:
        parser.error("--workers: begin with 1, which the others are compared with")
    table: dict[int, Any] = {}
    print("workers    steps/s  if only steps took time  efficiency  target  collect     update")
    for workers in options.workers:
        row = measure(workers, options.num_steps, options.iterations)
        alone = table[1]["steps_per_s"] if table else row["steps_per_s"]
        row["efficiency"] = row["steps_per_s"] / (workers * alone)
        table[workers] = row
        target = f">= {TARGET:.0%}" if workers > 1 else ""
        print(
            f"{workers:7} {row['steps_per_s']:10,.1f} {workers / STEP_S:24,.0f} "
            f"{row['efficiency']:11.1%} {target:>7} {row['perf/collect_s']:7.3f} s "
            f"{1000 * row['perf/update_s']:7.1f} ms",
            flush=True,
        )
    if not options.no_save:
        sizes = {"num_steps": options.num_steps, "step_s": STEP_S, "iterations": options.iterations}
        save("scaling", {**hardware(), **sizes, "target_efficiency": TARGET, "by_workers": table})


if __name__ == "__main__":
    main()
