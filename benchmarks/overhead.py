"""What an iteration takes besides collecting and learning: HalfCheetah-v5, two workers.

    python -m benchmarks.overhead

An iteration's wall time, from one TensorBoard event to the next, minus what the slowest worker
took to step and act and what the learner computed: Ray, transfers, and what the driver writes.
Medians of the iterations. Keeps results/overhead.json.
"""

import argparse
import statistics

from benchmarks.events import iterations
from benchmarks.results import hardware, save, trained

TARGET = 0.05
WORK = {"stepping": "perf/step_s", "acting": "perf/act_s", "learning": "perf/learner_s"}
TAGS = (*WORK.values(), "perf/collect_s", "perf/broadcast_s", "perf/update_s")
FLAGS = ["--config", "halfcheetah-ppo"]


def split(row: dict[str, float]) -> dict[str, float]:
    """Split the seconds of an iteration; the overhead is the sum of the last three."""
    work = {name: row[tag] for name, tag in WORK.items()}
    return {
        "iteration": row["iteration_s"],
        **work,
        "overhead": row["iteration_s"] - sum(work.values()),
        "weights and rollouts": row["perf/broadcast_s"],
        "call of the learner": row["perf/update_s"] - row["perf/learner_s"],
        "driver": row["iteration_s"] - row["perf/collect_s"] - row["perf/update_s"],
    }


def main() -> None:
    """Train once and print where the median iteration went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total-steps", type=int, default=40_000)
    options = parser.parse_args()
    with trained([*FLAGS, "--total-steps", str(options.total_steps)]) as run:
        rows = [split(row) for row in iterations(run, TAGS)]
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    shares = [row["overhead"] / row["iteration"] for row in rows]
    share = statistics.median(shares)
    for name, seconds in medians.items():
        print(f"{name:22} {1000 * seconds:9.2f} ms")
    print(f"overhead's share       {share:9.2%}     target <= {TARGET:.0%}")
    content = {"target_share": TARGET, "share": share, "median_s": medians}
    save("overhead", {**hardware(), **content, "shares": shares, "iterations": rows})


if __name__ == "__main__":
    main()
