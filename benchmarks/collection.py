"""Collection alone against stepping the same vector envs with a fixed action, two workers each.

    python -m benchmarks.collection

Two processes play rollouts with a fresh policy, then two step the same vector envs without one, in
turn; medians of the runs. Keeps results/collection.json.
"""

import argparse
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch

from benchmarks.results import hardware, save
from distpg.config.config import Config
from distpg.envs.make import find_env, make_vector_env
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.rollout.worker import RolloutWorker

CHEETAH = {"env_id": "HalfCheetah-v5", "num_envs": 16, "num_steps": 128}
PONG = {"env_id": "ALE/Pong-v5", "num_envs": 16, "num_steps": 32}
CARTPOLE = {"env_id": "CartPole-v1", "normalize_obs": False}
WORKLOADS: dict[str, dict[str, Any]] = {
    "HalfCheetah-v5, 16 envs": CHEETAH,
    "Pong, 16 envs, float32": PONG,
    "Pong, 16 envs, bf16": {**PONG, "precision": "bf16"},
    "CartPole-v1, 64 envs": {**CARTPOLE, "num_envs": 64, "num_steps": 256},
    "CartPole-v1, 1024 envs": {**CARTPOLE, "num_envs": 1024, "num_steps": 64},
}
"""By the number of envs that each worker's vector env has."""


def play(settings: dict[str, Any], seconds: float) -> float:
    """Collect for some seconds; return env steps per second."""
    config: Config = Config(num_workers=0, num_slots=1, **settings)
    worker = RolloutWorker(config, find_env(config.env_id, {}), 0)
    specs = worker.envs.obs_spec, worker.envs.action_spec
    weights = Policy(*specs, Architecture.of(config)).weights(0)
    worker.collect(weights, 0)
    steps, iteration, began = 0, 1, time.perf_counter()
    while time.perf_counter() - began < seconds:
        steps += worker.collect(weights, iteration).stats.env_steps
        iteration += 1
    return steps / (time.perf_counter() - began)


def step(settings: dict[str, Any], seconds: float) -> float:
    """Step with an action drawn once, for some seconds; return env steps per second."""
    num_envs = settings["num_envs"]
    envs = make_vector_env(find_env(settings["env_id"], {}), num_envs)
    envs.reset(list(range(num_envs)))
    envs.action_space.seed(0)
    action = np.stack([envs.action_space.sample() for _ in range(num_envs)])
    for _ in range(20):
        envs.step(action)
    count, began = 0, time.perf_counter()
    needs_reset = np.zeros(num_envs, bool)
    while time.perf_counter() - began < seconds:
        for _ in range(10):
            count += num_envs - int(needs_reset.sum())
            needs_reset = envs.step(action).needs_reset
    return count / (time.perf_counter() - began)


def both(kind: str, name: str, seconds: float) -> float:
    """Run two processes at once; return what they do together."""
    command = [sys.executable, "-m", "benchmarks.collection", "--child", kind, name, str(seconds)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return sum(float(child.communicate()[0].split()[-1]) for child in children)


def main() -> None:
    """Measure every workload, both sides in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        torch.set_num_threads(1)
        kind, name, seconds = options.child
        print((play if kind == "play" else step)(WORKLOADS[name], float(seconds)))
        return
    table: dict[str, Any] = {}
    for name in WORKLOADS:
        runs = [
            [both(kind, name, options.seconds) for kind in ("play", "step")]
            for _ in range(options.runs)
        ]
        played, stepped = (statistics.median(side) for side in zip(*runs, strict=True))
        table[name] = {
            "collected_per_s": round(played),
            "stepped_per_s": round(stepped),
            "share": round(played / stepped, 3),
            "runs": runs,
        }
        print(
            f"{name:26} collected {played:>12,.0f}/s  stepped {stepped:>12,.0f}/s  "
            f"{played / stepped:.0%}",
            flush=True,
        )
    save("collection", {**hardware(), "table": table})


if __name__ == "__main__":
    main()
