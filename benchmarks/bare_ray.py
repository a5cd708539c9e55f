"""CPU time of a driver of bare Ray that does what training asks of Ray, and nothing else.

    python -m benchmarks.bare_ray --workers 8

An iteration: each worker is called with the weights and returns a rollout, a state and statistics;
one wait for all statistics, one fetch of them; the learner is called with all rollouts by reference
and returns weights and statistics. Rollouts, weights and statistics are of the size that
`benchmarks.driver` has distpg send. Prints the seconds of CPU time, all threads, that the driver
took of each iteration but the first.
"""

import argparse
import json
import os
import secrets
import time
from itertools import pairwise
from typing import Any

import numpy as np
import ray

from benchmarks.slow_env import STEP_S

SETTINGS = {
    "RAY_task_events_report_interval_ms": "0",
    "RAY_worker_niceness": "0",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
"""Those of distpg's local Ray: no records of calls, actors at nice 0, a token in no file."""


class Worker:
    """Sleeps through its steps."""

    def __init__(self, num_steps: int, obs_size: int) -> None:
        """Take the sizes."""
        self.num_steps = num_steps
        self.obs_size = obs_size

    def ready(self) -> bool:
        """Answer once the process is up."""
        return True

    def collect(self, weights: np.ndarray, iteration: int) -> list[Any]:
        """Return a rollout, a state, and statistics."""
        for _ in range(self.num_steps):
            time.sleep(STEP_S)
        rollout = np.full((self.num_steps + 1, self.obs_size), weights[0, 0])
        return [rollout, rollout[-1].copy(), statistics(iteration)]


class Learner:
    """Takes rollouts."""

    def update(self, *rollouts: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Return weights, and statistics."""
        return np.full((8, rollouts[0].shape[-1]), rollouts[0][0, 0]), statistics(0)


def statistics(iteration: int) -> dict[str, Any]:
    """Return what distpg's statistics of a slot hold; 0.4 kB pickled, as those."""
    names = ("slot", "env_steps", "dropped_steps", "collect_s", "step_s", "faulted_steps")
    numbers = dict.fromkeys(names, 0.5)
    empty = {"faults": (), "range_warnings": {}, "reported": ()}
    arrays = {"episode_returns": np.zeros(0), "episode_lengths": np.zeros(0, np.int64)}
    return {"iteration": iteration, **numbers, **empty, **arrays}


def measure(num_workers: int, num_steps: int, obs_size: int, iterations: int) -> list[float]:
    """Iterate; return the driver's CPU seconds of each iteration but the first."""
    os.environ.update(SETTINGS)
    ray.init(
        address="local", num_cpus=num_workers + 1, include_dashboard=False, log_to_driver=False
    )
    worker = ray.remote(num_cpus=1)(Worker)
    learner: Any = ray.remote(num_cpus=1)(Learner).remote()
    workers: list[Any] = [worker.remote(num_steps, obs_size) for _ in range(num_workers)]
    ray.get([each.ready.remote() for each in workers])
    weights: Any = ray.put(np.zeros((8, obs_size), np.float32))
    spent: list[float] = []
    for iteration in range(iterations):
        collected = [
            each.collect.options(num_returns=3).remote(weights, iteration) for each in workers
        ]
        stats = [refs[-1] for refs in collected]
        ray.wait(stats, num_returns=num_workers)
        ray.get(stats)
        rollouts = [refs[0] for refs in collected]
        weights, measured = learner.update.options(num_returns=2).remote(*rollouts)
        ray.get(measured)
        spent.append(time.process_time())
    ray.shutdown()
    return [after - before for before, after in pairwise(spent)]


def main() -> None:
    """Measure once, and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--num-steps", type=int, default=64)
    parser.add_argument("--obs-size", type=int, default=1024)
    parser.add_argument("--iterations", type=int, default=31)
    options = parser.parse_args()
    each_s = measure(options.workers, options.num_steps, options.obs_size, options.iterations)
    print(json.dumps(each_s))


if __name__ == "__main__":
    main()
