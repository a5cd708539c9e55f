"""Seconds from process start to the first update, beside a bare script that starts as many actors.

    python -m benchmarks.startup --runs 7

Both in turn: distpg with two workers on CartPole-v1, and a script that starts Ray and three actors
that import torch. Also the seconds from the last update to the end of the process. Keeps
results/startup.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.results import hardware, save

BARE = """
import ray
ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)

@ray.remote(num_cpus=1)
class Actor:
    def __init__(self):
        import torch
    def ready(self):
        return True

actors = [Actor.remote() for _ in range(3)]
ray.get([actor.ready.remote() for actor in actors])
import time
print(time.time(), flush=True)
"""


def bare_s() -> float:
    """Time the bare script to the point where its actors are ready."""
    began = time.time()
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1]) - began


def distpg_s() -> tuple[float, float]:
    """Time a short run: to the end of its first update, and from its last one to its exit."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--total-steps", "1000", "--run-dir", folder, "--overwrite", "--quiet"]
        began = time.time()
        command = [sys.executable, "launch.py", "train", "--config", "cartpole-ppo", *flags]
        subprocess.run(command, check=True)
        ended = time.time()
        updates = EventAccumulator(folder).Reload().Scalars("train/loss")
    return updates[0].wall_time - began, ended - updates[-1].wall_time


def main() -> None:
    """Measure both sides in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    rows: list[dict[str, float]] = []
    for _ in range(options.runs):
        first_update_s, exit_s = distpg_s()
        rows.append({"first_update_s": first_update_s, "exit_s": exit_s, "bare_s": bare_s()})
        print(json.dumps(rows[-1]), flush=True)
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    ratio = medians["first_update_s"] / medians["bare_s"]
    print(f"{ratio:.2f} x the bare script")
    save("startup", {**hardware(), "ratio": ratio, "median": medians, "runs": rows})


if __name__ == "__main__":
    main()
