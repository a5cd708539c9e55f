"""A long run whose processes are killed and stopped at random, beside the same run left alone.

    python -m benchmarks.soak

PPO on CartPole-v1, two workers, small batches. Faults come from outside, by process id, in an order
and at intervals that the seed decides; the next comes when the last is made good. With environments
that tell their state both runs must end in the same weights. Keeps results/soak.json; exits with 1
where something is not as it must be. Linux alone.
"""

import argparse
import hashlib
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL, SIGSTOP, Signals
from typing import Any

import psutil

from benchmarks.events import iterations
from benchmarks.live import LiveRun, running
from benchmarks.memory import OURS, is_ours
from benchmarks.results import hardware, save

SHAPE = {"--num-workers": 2, "--num-envs": 4, "--num-steps": 32}
BATCH = 256
"""Steps of a batch, a few of which are resets."""
FLAGS = [
    *("--env-id", "CartPole-v1", "--minibatch-size", "64", "--num-epochs", "2"),
    *("--learning-rate", "1e-3", "--gamma", "0.98", "--gae-lambda", "0.9"),
    *("--learner-threads", "1", "--max-restarts", "1000"),
    *(str(word) for item in SHAPE.items() for word in item),
]
LOOK_EVERY_S = 0.2
SIZES = (*OURS, "Ray", "object store")
SAMPLES = 40
"""How often in a run its memory is looked at."""
LAST = 0.98
"""The share of a run after which it is left alone, so that every loss is noticed."""
KEPT = (
    *("iterations", "episode_return_mean", "env_steps", "trained_steps", "dropped_steps"),
    *("worker_restarts", "learner_restarts", "reissued_slots", "train_s", "wall_s"),
)


@dataclass(frozen=True)
class Fault:
    """What is done to one process, or also to the one that takes its place, while it starts."""

    who: str
    signal: Signals = SIGKILL
    times: int = 1

    def __str__(self) -> str:
        """Say it in a few words."""
        return f"{self.who} {self.signal.name}" + " and its successor" * (self.times - 1)


FAULTS = (
    *[Fault("worker")] * 4,
    *[Fault("learner")] * 2,
    Fault("worker", times=2),
    Fault("learner", times=2),
    Fault("worker", SIGSTOP),
    Fault("learner", SIGSTOP),
)


def shuffled(chance: random.Random) -> Iterator[Fault]:
    """Yield the faults in random order, all of them before any comes again."""
    while True:
        yield from chance.sample(FAULTS, len(FAULTS))


class Injector:
    """Injects faults into a run, one at a time; the next some time after the last is made good."""

    def __init__(self, run: LiveRun, every_s: float, seed: int) -> None:
        """Shuffle the faults; the first is due after a while, too."""
        self.run = run
        self.every_s = every_s
        self.chance = random.Random(seed)
        self.faults = shuffled(self.chance)
        self.lost = Counter[str]()
        """Processes that the run had to replace, by role."""
        self.done: list[dict[str, Any]] = []
        self.due = self.next_due()

    def next_due(self) -> float:
        """Choose when the next fault comes, as monotonic time."""
        return time.monotonic() + self.chance.uniform(0.5, 1.5) * self.every_s

    def look(self) -> None:
        """Inject a fault if it is due, and wait until it is made good."""
        if time.monotonic() < self.due:
            return
        fault, began = next(self.faults), time.monotonic()
        told: dict[str, Any] = {"fault": str(fault), "iteration": self.run.iterations()}
        self.done.append(told)
        self.inject(fault)
        self.run.wait_for(self.made_good)
        told["made_good_s"] = time.monotonic() - began
        self.due = self.next_due()

    def inject(self, fault: Fault) -> None:
        """Signal a random process of the role, then what replaces it if the fault is for both."""
        known: set[int] = set()
        for _ in range(fault.times):
            found = self.run.wait_for(partial(self.run.of, fault.who, besides=known)) or []
            known.update(process.pid for process in found)
            if found:
                self.chance.choice(found).send_signal(fault.signal)
                self.lost[fault.who] += 1

    def made_good(self) -> bool:
        """Tell whether the run has replaced all that it lost."""
        return all(self.run.restarts(who) >= count for who, count in self.lost.items())


def resident_mb(run: LiveRun) -> dict[str, float]:
    """Measure a run's memory by role; nothing where one of them is just being replaced."""
    found = Counter[str]()
    for who, process in run.processes():
        try:
            found[who if is_ours(who) else "Ray"] += process.memory_info().rss
            if who == "Ray's raylet":
                found["object store"] += object_store_bytes(process)
        except (psutil.Error, OSError):
            # it ended meanwhile
            return {}
    return {who: found[who] / 1e6 for who in SIZES} if found.keys() == set(SIZES) else {}


def object_store_bytes(raylet: psutil.Process) -> int:
    """Read how much of its object store Ray has ever touched."""
    files = Path(f"/proc/{raylet.pid}/fd").iterdir()
    store = next(file for file in files if "plasma" in str(file.readlink()))
    return 512 * store.stat().st_blocks


def slopes(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Fit each role's MB per 1,000 iterations, leaving the first quarter of a run out."""
    later = [row for row in rows if row["iteration"] >= rows[-1]["iteration"] / 4]
    at = [row["iteration"] / 1000 for row in later]
    return {
        name: statistics.linear_regression(at, [row[name] for row in later]).slope for name in SIZES
    }


def soak(count: int, flags: Sequence[str], every_s: float | None, seed: int) -> dict[str, Any]:
    """Train once, with faults if there are seconds between them; return the figures."""
    rows: list[dict[str, float]] = []
    with running([*FLAGS, *flags, "--total-steps", str(count * BATCH)]) as run:
        run.wait_for(run.iterations)
        injector = Injector(run, every_s or 0.0, seed)
        while run.goes_on():
            time.sleep(LOOK_EVERY_S)
            done, sampled = run.iterations(), rows[-1]["iteration"] if rows else 0
            if done >= sampled + count / SAMPLES and (found := resident_mb(run)):
                rows.append({"iteration": done, **found})
            if every_s is not None and done < LAST * count:
                injector.look()
        if run.process.returncode:
            sys.exit(f"{run.told()}\nit ended badly, after {injector.done}")
        result = json.loads((run.folder / "result.json").read_text())
        lengths_s = [row["iteration_s"] for row in iterations(run.folder, ["time/iterations"])]
        policy = (run.folder / "policy.safetensors").read_bytes()
    return {
        **{key: result[key] for key in KEPT},
        "policy_sha256": hashlib.sha256(policy).hexdigest(),
        "median_iteration_s": statistics.median(lengths_s),
        "longest_iteration_s": max(lengths_s),
        "lost": dict(injector.lost),
        "faults": injector.done,
        "mb_per_1000_iterations": slopes(rows),
        "resident_mb": rows,
    }


def checks(alone: Mapping[str, Any], disturbed: Mapping[str, Any]) -> dict[str, bool]:
    """Say what has to be so, and whether it is."""
    one, other = (side["episode_return_mean"] for side in (alone, disturbed))
    return {
        "each loss was counted as a restart": all(
            side[f"{who}_restarts"] == side["lost"].get(who, 0)
            for side in (alone, disturbed)
            for who in ("worker", "learner")
        ),
        "the learner trained on what the workers played": all(
            side["trained_steps"] == side["env_steps"] for side in (alone, disturbed)
        ),
        "as many steps were dropped": alone["dropped_steps"] == disturbed["dropped_steps"],
        "mean returns are within 5%": abs(one - other) <= 0.05 * abs(one),
        "the weights are the same": alone["policy_sha256"] == disturbed["policy_sha256"],
    }


def show(name: str, side: Mapping[str, Any]) -> None:
    """Print a side's figures."""
    print(
        f"{name}: {side['iterations']} iterations, {side['wall_s']:.0f} s, mean return "
        f"{side['episode_return_mean']:.1f}, longest iteration {side['longest_iteration_s']:.1f} s"
    )
    rows = side["resident_mb"]
    print(f"{'resident MB at iteration':26}" + "".join(f"{size:>14}" for size in SIZES))
    for quarter in (1, 2, 3, 4):
        row = min(rows, key=lambda row: abs(row["iteration"] - quarter / 4 * side["iterations"]))
        print(f"{row['iteration']:26}" + "".join(f"{row[size]:14.1f}" for size in SIZES))
    slope = side["mb_per_1000_iterations"]
    print(f"{'MB per 1,000 iterations':26}" + "".join(f"{slope[size]:14.2f}" for size in SIZES))


def by_kind(faults: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Count the faults of each kind, and take the median of what it took to make them good."""
    kinds: dict[str, list[float]] = {}
    for fault in faults:
        kinds.setdefault(fault["fault"], []).append(fault["made_good_s"])
    return {
        kind: {"times": len(each), "made_good_s": statistics.median(each)}
        for kind, each in sorted(kinds.items())
    }


def main() -> None:
    """Train twice and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--phase-timeout", default="20", metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-save", action="store_true", help="print the figures alone")
    options = parser.parse_args()
    if not Path("/proc/self/fd").exists():
        print("there is no /proc/PID/fd here; Linux has it")
        sys.exit(2)
    flags = ["--phase-timeout", options.phase_timeout, "--seed", str(options.seed)]
    sides: dict[str, dict[str, Any]] = {}
    for name, every_s in (("left alone", None), ("disturbed", options.every)):
        sides[name] = soak(options.iterations, flags, every_s, options.seed)
        show(name, sides[name])
    alone, disturbed = sides.values()
    kinds = by_kind(disturbed["faults"])
    verdicts = checks(alone, disturbed)
    for kind, figures in kinds.items():
        print(f"{figures['times']:4} x {kind}, made good in {figures['made_good_s']:.1f} s")
    for claim, holds in verdicts.items():
        print(f"{'yes' if holds else 'NO':4} {claim}")
    if not options.no_save:
        content = {"flags": [*FLAGS, *flags], "kinds": kinds, "checks": verdicts, "runs": sides}
        save("soak", {**hardware(), **content})
    sys.exit(not all(verdicts.values()))


if __name__ == "__main__":
    main()
