"""Races: distpg and its peers on the same work, the same machine, in the same minutes.

    make peers
    python -m benchmarks.races cartpole halfcheetah --runs 3

Each side is a process of its own, as its user would start it. Sides take turns within a run, and a
run is a seed; ratios are of medians, distpg's over the peer's. A rate is that of the median
iteration, so what the first updates take (a compilation, say) is not in it; `over_median_s` says
what all iterations took beyond it. Keeps results/races-NAME.json; `python -m benchmarks.race_chart`
draws them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.iterations import Iteration, Iterations
from benchmarks.results import hardware, save

PEERS = Path(".venv-peers/bin/python")
PACKAGES = (
    "torch",
    "ray",
    "gymnasium",
    "numpy",
    "mujoco",
    "ale-py",
    "stable-baselines3",
    "opencv-python-headless",
)
VERSIONS = f"""
import json, platform
from importlib import metadata
found = {{each.metadata["Name"].lower().replace("_", "-") for each in metadata.distributions()}}
versions = {{name: metadata.version(name) for name in {PACKAGES} if name in found}}
print(json.dumps({{"python": platform.python_version(), **versions}}))
"""
SAME_WORK = 0.02
"""How far optimizer steps per env step may be apart."""


@dataclass(frozen=True)
class Goal:
    """A ratio that a side of distpg is to reach against a peer."""

    side: str
    peer: str
    figure: str
    wanted: float
    must: float | None = None
    """What is still acceptable; None: what is wanted."""

    def reached_by(self, ratio: float) -> str:
        """Say how far a ratio reaches: met, acceptable or missed."""
        grows = not self.figure.endswith("_s") or self.figure.endswith("_per_s")
        for bound, verdict in ((self.wanted, "met"), (self.must, "acceptable")):
            if bound is not None and (ratio >= bound if grows else ratio <= bound):
                return verdict
        return "missed"


@dataclass(frozen=True)
class Race:
    """Sides by their names, each as what Python is told to run, and what is asked of them."""

    title: str
    sides: Mapping[str, str]
    figures: tuple[str, ...]
    """Those that the table shows."""
    goals: tuple[Goal, ...]
    runs: int = 3
    same_work: bool = True
    """Whether all sides are to take the same number of optimizer steps per env step."""


CARTPOLE = "--solve 475 --steps 300000 --minibatch 128 --epochs 10 --lr 1e-3 --gamma .98 --lam .9"
CHEETAH = "--env HalfCheetah-v5 --lr 3e-4 --gamma .99 --lam .95"
CHEETAH_PPO = "launch.py train --config halfcheetah-ppo --lr-schedule constant"
SHORT = f"{CHEETAH_PPO} --total-steps 102400"
LARGE = (
    f"{CHEETAH_PPO} --num-envs 32 --num-steps 512 --num-epochs 4 --minibatch-size 4096 "
    "--total-steps 131072"
)
PONG = "launch.py train --config pong-ppo --lr-schedule constant --total-steps 6144"
SB3_CHEETAH = (
    f"-m benchmarks.peers.sb3_ppo {CHEETAH} --normalize --n-envs 8 --n-steps 256 --epochs 10 "
    "--minibatch 64 --steps 102400"
)

IN_TURN, AHEAD = ("distpg", "distpg --compile off"), ("distpg --overlap",)
SB3_SIDES = ("SB3", "SB3, subprocesses")
TO_GOAL = ("solved_s", "startup_s", "train_s", "env_steps", "exit_s")
RATE = ("env_steps_per_s", "iteration_s", "first_iteration_s", "over_median_s")

RACES: dict[str, Race] = {
    "cartpole": Race(
        title="PPO, CartPole-v1 to 475",
        sides={
            "distpg": "launch.py train --config cartpole-ppo",
            "SB3": f"-m benchmarks.peers.sb3_ppo {CARTPOLE} --n-envs 8 --n-steps 128",
            "RLlib": f"-m benchmarks.peers.rllib_ppo {CARTPOLE} --batch 1024",
        },
        figures=TO_GOAL,
        goals=(
            Goal("distpg", "SB3", "solved_s", 0.9),
            Goal("distpg", "SB3", "train_s", 0.45),
            Goal("distpg", "RLlib", "solved_s", 0.4),
        ),
        runs=5,
        # the step that resets an env is no env step to distpg, so short episodes shrink its batch
        same_work=False,
    ),
    "reinforce": Race(
        title="REINFORCE, CartPole-v1 to 475",
        sides={
            "distpg": "launch.py train --config cartpole-reinforce",
            "single file": "-m benchmarks.peers.reinforce --solve 475",
        },
        figures=TO_GOAL,
        goals=(Goal("distpg", "single file", "solved_s", 1 / 3),),
        runs=5,
        same_work=False,
    ),
    "halfcheetah": Race(
        title="PPO, HalfCheetah-v5",
        sides={
            "distpg": SHORT,
            "distpg --compile off": f"{SHORT} --compile off",
            "distpg --overlap": f"{SHORT} --overlap",
            "SB3": SB3_CHEETAH,
            "SB3, subprocesses": f"{SB3_CHEETAH} --subproc --threads 1",
            "RLlib": f"-m benchmarks.peers.rllib_ppo {CHEETAH} --batch 2048 --minibatch 64 "
            "--epochs 10 --steps 102400",
        },
        figures=RATE,
        goals=(
            *(Goal(s, p, "env_steps_per_s", 2.5, 2.2) for s in IN_TURN for p in SB3_SIDES),
            *(Goal(s, p, "env_steps_per_s", 3.5, 2.8) for s in AHEAD for p in SB3_SIDES),
            *(Goal(s, "RLlib", "env_steps_per_s", 3.0) for s in (*IN_TURN, *AHEAD)),
        ),
    ),
    "large": Race(
        title="PPO, HalfCheetah-v5, large batches",
        sides={
            "distpg": LARGE,
            "distpg --compile off": f"{LARGE} --compile off",
            "SB3": f"-m benchmarks.peers.sb3_ppo {CHEETAH} --normalize --n-envs 64 --n-steps 512 "
            "--epochs 4 --minibatch 4096 --steps 131072",
        },
        figures=RATE,
        goals=tuple(Goal(side, "SB3", "env_steps_per_s", 1.35) for side in IN_TURN),
    ),
    "pong": Race(
        title="PPO, Pong",
        sides={
            "distpg": PONG,
            "distpg --precision bf16": f"{PONG} --precision bf16",
            "SB3": "-m benchmarks.peers.sb3_ppo --env PongNoFrameskip-v4 --atari --n-envs 8 "
            "--n-steps 128 --minibatch 256 --epochs 4 --lr 2.5e-4 --gamma .99 --lam .95 --clip .1 "
            "--ent .01 --steps 6144",
        },
        figures=RATE,
        goals=tuple(
            Goal(side, "SB3", "env_steps_per_s", 3.0)
            for side in ("distpg", "distpg --precision bf16")
        ),
    ),
}


def is_distpg(command: str) -> bool:
    """Tell distpg's sides from the peers'."""
    return command.startswith("launch.py")


def output_of(command: Sequence[str]) -> str:
    """Run a process to its end; return the last line that it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-4000:]}")
    return done.stdout.strip().rpartition("\n")[2]


def run_distpg(command: str, seed: int) -> dict[str, Any]:
    """Train once; read the figures from what the run leaves behind."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        flags = ["--seed", str(seed), "--run-dir", str(run), "--quiet"]
        output_of([sys.executable, *command.split(), *flags])
        ended = time.time()
        result = json.loads((run / "result.json").read_text())
        events = EventAccumulator(str(run), {"scalars": 0}).Reload()
    losses, updates = events.Scalars("train/loss"), events.Scalars("train/optimizer_steps")
    # an event is written as soon as its update is over, the last one at train_s
    began = losses[-1].wall_time - result["train_s"] - result["startup_s"]
    ends = [
        Iteration(loss.wall_time - began, loss.step, round(update.value))
        for loss, update in zip(losses, updates, strict=True)
    ]
    figures = Iterations(result["startup_s"], ends).figures(
        solved=result["stop_reason"] == "solved", final_return=result["episode_return_mean"]
    )
    return {**figures, "exit_s": ended - losses[-1].wall_time}


def run_side(command: str, seed: int, peers: Path) -> dict[str, Any]:
    """Train once; return the figures."""
    if is_distpg(command):
        return run_distpg(command, seed)
    return json.loads(output_of([str(peers), *command.split(), "--seed", str(seed)]))


def medians_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the median of each figure that every run has."""
    numbers = [
        figure
        for figure in runs[0]
        if all(isinstance(run[figure], int | float) for run in runs)
        and figure not in ("seed", "solved")
    ]
    return {figure: statistics.median(run[figure] for run in runs) for figure in numbers}


def check_same_work(medians: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse to compare sides that do not learn equally much from a step."""
    rates = {side: row["optimizer_steps_per_env_step"] for side, row in medians.items()}
    assert max(rates.values()) <= (1 + SAME_WORK) * min(rates.values()), (
        f"sides take different numbers of optimizer steps per env step: {rates}"
    )


def judge(race: Race, medians: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Compare each goal with the ratio of medians."""
    rows: list[dict[str, Any]] = []
    for goal in race.goals:
        ratio = medians[goal.side][goal.figure] / medians[goal.peer][goal.figure]
        rows.append({**asdict(goal), "ratio": ratio, "verdict": goal.reached_by(ratio)})
    return rows


def show(race: Race, sides: Mapping[str, Mapping[str, Any]], goals: list[dict[str, Any]]) -> None:
    """Print the medians, then the goals."""
    print(f"{race.title}\n{'':28}" + "".join(f"{figure:>19}" for figure in race.figures))
    for name, side in sides.items():
        row = side["median"]
        cells = (f"{row[figure]:,.2f}" if figure in row else "" for figure in race.figures)
        unsolved = sum(not run["solved"] for run in side["runs"]) if race.figures == TO_GOAL else 0
        missed = f"  {unsolved} not solved" if unsolved else ""
        print(f"{name:28}" + "".join(f"{cell:>19}" for cell in cells) + missed)
    for row in goals:
        must = "" if row["must"] is None else f" (must {row['must']:.2f})"
        print(
            f"{row['side']} / {row['peer']}, {row['figure']}: {row['ratio']:.2f}, wanted "
            f"{row['wanted']:.2f}{must}: {row['verdict']}"
        )
    print(flush=True)


def hold(name: str, runs: int, peers: Path, *, keep: bool) -> None:
    """Hold a race, print its table, and keep it if asked to."""
    race = RACES[name]
    rows: dict[str, list[dict[str, Any]]] = {side: [] for side in race.sides}
    for seed in range(runs):
        for side, command in race.sides.items():
            rows[side].append({"seed": seed, **run_side(command, seed, peers)})
            print(json.dumps({"race": name, "side": side, **rows[side][-1]}), flush=True)
    medians = {side: medians_of(own) for side, own in rows.items()}
    sides = {
        side: {"command": command, "median": medians[side], "runs": rows[side]}
        for side, command in race.sides.items()
    }
    goals = judge(race, medians)
    show(race, sides, goals)
    if keep:
        versions = {
            python: json.loads(output_of([path, "-c", VERSIONS]))
            for python, path in (("distpg", sys.executable), ("peers", str(peers)))
        }
        about = {"title": race.title, "versions": versions}
        save(f"races-{name}", {**hardware(), **about, "goals": goals, "sides": sides})
    if race.same_work:
        check_same_work(medians)


def main() -> None:
    """Hold the races that are named, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("races", nargs="*", metavar="RACE", help=f"of {', '.join(RACES)}; or all")
    parser.add_argument("--runs", type=int, help="seeds; default: 5 for races to a goal, else 3")
    parser.add_argument("--peers", type=Path, default=PEERS, help="Python that has the peers")
    parser.add_argument("--no-save", action="store_true", help="print the tables alone")
    options = parser.parse_args()
    names: list[str] = options.races or list(RACES)
    if unknown := [name for name in names if name not in RACES]:
        parser.error(f"{unknown[0]} is none of {', '.join(RACES)}")
    if not options.peers.exists():
        parser.error(f"--peers: there is no {options.peers}; make peers creates .venv-peers")
    for name in names:
        runs = options.runs or RACES[name].runs
        hold(name, runs, options.peers, keep=not options.no_save)


if __name__ == "__main__":
    main()
