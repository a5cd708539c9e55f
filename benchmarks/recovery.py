"""Seconds that a fault takes out of a run, and for which saving a checkpoint holds its loop up.

    python -m benchmarks.recovery

A worker killed in a rollout, a learner killed in an update, an exception in an env's step: each to
the end of the next iteration, so what was lost and is done again is in the figure, and the length
of an undisturbed iteration stands beside it. Saving: CartPole's policy, and Pong's with its
optimizer, on Ray and in one process, a save every few iterations. Medians. Keeps
results/recovery.json.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from signal import SIGKILL
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TypeVar
from unittest import mock

from benchmarks.live import LiveRun, running
from benchmarks.results import hardware, save
from distpg import Config, train
from distpg.iteration import Iteration
from distpg.run import watchers
from distpg.run.checkpointer import Checkpointer

T = TypeVar("T")
LONG = ["--total-steps", "1000000000", "--max-restarts", "1000", "--max-env-faults", "1000"]
KILLS = [
    *("--env-id", "CartPole-v1", "--num-envs", "4", "--num-steps", "1024"),
    *("--num-epochs", "20", "--minibatch-size", "512", "--learner-threads", "1", *LONG),
]
"""Rollouts and updates of about a second each."""
FAILING = ["--env-id", "benchmarks.failing_env:Failing-v0", "--num-steps", "128", *LONG]
VICTIMS = {
    "worker killed": ("RolloutActor.collect", "worker"),
    "learner killed": ("LearnerActor.update", "learner"),
}
UNDISTURBED = 3
"""Iterations between two kills."""
TARGETS_S = {"worker killed": 10, "learner killed": 15, "env raised": 5, "save": 0.1}
SAVE_EVERY = 5
SAVES: dict[str, dict[str, Any]] = {
    "CartPole": {"env_id": "CartPole-v1", "num_steps": 128, "num_epochs": 2},
    "Pong": {"env_id": "ALE/Pong-v5", "num_steps": 16, "num_epochs": 1},
}


def kill(run: LiveRun, method: str, who: str) -> float:
    """After some iterations kill an actor in a method; return the seconds to the next one's end."""
    begun, before = run.iterations(), run.restarts(who)
    run.wait_for(lambda: run.iterations() >= begun + UNDISTURBED)
    (victim, *_) = run.wait_for(lambda: run.doing(method), every_s=0.01) or []
    victim.send_signal(SIGKILL)
    killed = time.time()

    def replaced() -> list[float]:
        counted = run.values(f"faults/{who}_restarts")
        return [when for when, count in counted if count > before]

    (ended, *_) = run.wait_for(replaced) or []
    return ended - killed


def iteration_s(run: LiveRun) -> float:
    """Return the length of the median iteration."""
    ends = [when for when, _ in run.values("time/iterations")]
    return statistics.median(after - before for before, after in pairwise(ends))


def kills(repeats: int) -> dict[str, Any]:
    """Kill a worker and the learner in turn."""
    found: dict[str, list[float]] = {name: [] for name in VICTIMS}
    with running(KILLS) as run:
        for _ in range(repeats):
            for name, (method, who) in VICTIMS.items():
                found[name].append(kill(run, method, who))
        undisturbed_s = iteration_s(run)
    return {
        name: {"median_s": statistics.median(each), "iteration_s": undisturbed_s, "each_s": each}
        for name, each in found.items()
    }


def exceptions(repeats: int) -> dict[str, Any]:
    """Have envs raise in their steps."""
    with TemporaryDirectory() as folder:
        log = Path(folder) / "raised"
        kwargs = json.dumps({"log": str(log), "probability": 1 / 4000})
        with running([*FAILING, "--env-kwargs", kwargs]) as run:
            run.wait_for(lambda: run.latest("faults/env_faults") >= repeats)
            ends = [when for when, _ in run.values("time/iterations")]
            undisturbed_s = iteration_s(run)
        raised = [float(line) for line in log.read_text().split()]
    each = [min(end for end in ends if end >= when) - when for when in raised if when < ends[-1]]
    return {"median_s": statistics.median(each), "iteration_s": undisturbed_s, "each_s": each}


class Timed(Checkpointer):
    """Notes how long each save holds the loop up."""

    rows: ClassVar[list[dict[str, float]]] = []

    def __init__(self, run: Any, config: Config, learner: Any, slots: Any, *others: Any) -> None:
        """Have the reading of states timed."""
        self.spent: dict[str, float] = {}
        parts = self.timed("learner_state_s", learner), self.timed("slot_states_s", slots)
        super().__init__(run, config, *parts, *others)

    def timed(self, part: str, read: Callable[[], T]) -> Callable[[], T]:
        """Have calls of a function timed."""

        def reading() -> T:
            began = time.perf_counter()
            value = read()
            self.spent[part] = time.perf_counter() - began
            return value

        return reading

    def on_iteration(self, iteration: Iteration) -> None:
        """Save if a checkpoint is due; what is not reading is waiting for the one before."""
        before, began = self.saved, time.perf_counter()
        super().on_iteration(iteration)
        if self.saved is not before:
            blocked_s = time.perf_counter() - began
            waited_s = blocked_s - sum(self.spent.values())
            self.rows.append({"blocked_s": blocked_s, **self.spent, "waiting_s": waited_s})


def saves(repeats: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train in this process, and time what saving takes of the loop."""
    config = Config(
        **settings,
        num_slots=2,
        num_envs=4,
        minibatch_size=64,
        checkpoint_every=SAVE_EVERY,
        total_steps=(repeats + 1) * SAVE_EVERY * 8 * settings["num_steps"],
    )
    Timed.rows.clear()
    with TemporaryDirectory() as folder, mock.patch.object(watchers, "Checkpointer", Timed):
        train(config, run_dir=Path(folder) / "run", quiet=True)
        newest = (Path(folder) / "run" / "checkpoints" / "latest").iterdir()
        size = sum(file.stat().st_size for file in newest)
    rows = [*Timed.rows]
    medians = {part: statistics.median(row[part] for row in rows) for part in rows[0]}
    longest_s = max(row["blocked_s"] for row in rows)
    return {"median": medians, "longest_s": longest_s, "checkpoint_mb": size / 1e6, "saves": rows}


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-save", action="store_true", help="print the figures alone")
    options = parser.parse_args()
    faults = {**kills(options.repeats), "env raised": exceptions(options.repeats)}
    for name, figures in faults.items():
        print(
            f"{name:16} {figures['median_s']:6.2f} s, longest {max(figures['each_s']):6.2f} s, "
            f"an iteration {figures['iteration_s']:.2f} s   target < {TARGETS_S[name]} s",
            flush=True,
        )
    blocked: dict[str, Any] = {}
    for name, settings in SAVES.items():
        for place, num_workers in (("Ray", 2), ("one process", 0)):
            found = saves(options.repeats, {**settings, "num_workers": num_workers})
            blocked[f"{name}, {place}"] = found
            parts = {part: f"{1000 * part_s:.1f}" for part, part_s in found["median"].items()}
            print(
                f"save, {name}, {place} ({found['checkpoint_mb']:.1f} MB): ms {parts}, longest "
                f"{1000 * found['longest_s']:.1f}   target <= {1000 * TARGETS_S['save']:.0f}",
                flush=True,
            )
    if not options.no_save:
        content = {"targets_s": TARGETS_S, "faults": faults, "saves": blocked}
        save("recovery", {**hardware(), **content})


if __name__ == "__main__":
    main()
