"""Races: distpg and its peers on the same work, the same machine, in the same minutes.

    make peers
    python -m benchmarks.races cartpole halfcheetah --runs 3
    python -m benchmarks.races cartpole --sides distpg SB3 "JAX file"

Each side is a process of its own, as its user would start it. Sides take turns within a run, and a
run is a seed; ratios are of medians, distpg's over the peer's. A rate is that of the median
iteration, so what the first updates take (a compilation, say) is not in it; `over_median_s` says
what all iterations took beyond it. Keeps results/races-NAME.json; `python -m benchmarks.race_chart`
draws them. A race of some sides leaves the others as they were kept, each with its date, if the CPU
and their commands are still the same.
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
from benchmarks.results import FOLDER, hardware, save

PEERS = Path(".venv-peers")
PACKAGES = (
    "torch",
    "ray",
    "gymnasium",
    "numpy",
    "mujoco",
    "ale-py",
    "stable-baselines3",
    "opencv-python-headless",
    "jax",
    "flax",
    "optax",
    "sbx-rl",
    "skrl",
    "rsl-rl-lib",
    "rl-games",
    "tianshou",
    "torchrl",
    "tensordict",
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
class Side:
    """What takes part in a race."""

    command: str
    """What Python is told to run."""
    environment: str = ""
    """Which Python: of .venv-peers/ENVIRONMENT; empty: this one."""

    def python(self, peers: Path) -> str:
        """Return the path of its Python."""
        return str(peers / self.environment / "bin/python") if self.environment else sys.executable


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
    """Sides by their names, and what is asked of them."""

    title: str
    sides: Mapping[str, Side]
    figures: tuple[str, ...]
    """Those that the table shows."""
    goals: tuple[Goal, ...]
    runs: int = 3
    same_work: bool = True
    """Whether all sides are to take the same number of optimizer steps per env step."""


PPOS: dict[str, Side] = {
    "SB3": Side("sb3_ppo", "rllib"),
    "SB3, subprocesses": Side("sb3_ppo --subproc --threads 1", "rllib"),
    "RLlib": Side("rllib_ppo", "rllib"),
    "torch file": Side("torch_file --threads 1", "rllib"),
    "torch file, compiled": Side("torch_file --threads 1 --compile", "rllib"),
    "JAX file": Side("jax_file --threads 1", "jax"),
    "JAX file, cached": Side("jax_file --threads 1 --cache .venv-peers/jax/cache", "jax"),
    "SBX": Side("sbx_ppo --threads 1", "jax"),
    "skrl": Side("skrl_ppo --threads 1", "torch"),
    "rsl-rl": Side("rsl_rl_ppo --threads 1", "torch"),
    "rl_games": Side("rl_games_ppo --threads 1", "torch"),
    "tianshou": Side("tianshou_ppo --threads 1", "torch"),
    "torchrl": Side("torchrl_ppo --threads 1", "torch"),
}
"""Peers, as modules of benchmarks.peers with their own flags."""


def distpg(flags: str) -> Side:
    """Return a side of distpg."""
    return Side(f"launch.py train {flags}")


def peers(work: str, *names: str) -> dict[str, Side]:
    """Return peers that are given the same work."""
    return {
        name: Side(f"-m benchmarks.peers.{PPOS[name].command} {work}", PPOS[name].environment)
        for name in names
    }


CARTPOLE = (
    "--solve 475 --steps 300000 --n-envs 8 --n-steps 128 --minibatch 128 --epochs 10 --lr 1e-3 "
    "--gamma .98 --lam .9"
)
CHEETAH = "--env HalfCheetah-v5 --normalize --lr 3e-4 --gamma .99 --lam .95"
SHORT = f"{CHEETAH} --n-envs 8 --n-steps 256 --epochs 10 --minibatch 64"
LARGE = f"{CHEETAH} --n-envs 64 --n-steps 512 --epochs 4 --minibatch 4096 --steps 131072"
DISTPG_CHEETAH = "--config halfcheetah-ppo --lr-schedule constant --log-std-init 0"
DISTPG_SHORT = f"{DISTPG_CHEETAH} --total-steps 102400"
DISTPG_LARGE = (
    f"{DISTPG_CHEETAH} --num-envs 32 --num-steps 512 --num-epochs 4 --minibatch-size 4096 "
    "--total-steps 131072"
)
DISTPG_PONG = "--config pong-ppo --lr-schedule constant --total-steps 6144"

FILES = ("torch file", "torch file, compiled", "JAX file")
SLOW = ("RLlib", "skrl", "rsl-rl", "rl_games", "tianshou", "torchrl")
"""They take fewer steps, which leaves the median iteration as it is."""
SB3_SIDES = ("SB3", "SB3, subprocesses")
TO_GOAL = ("solved_s", "startup_s", "train_s", "env_steps", "exit_s")
RATE = ("env_steps_per_s", "iteration_s", "first_iteration_s", "over_median_s")

RACES: dict[str, Race] = {
    "cartpole": Race(
        title="PPO, CartPole-v1 to 475",
        sides={
            "distpg": distpg("--config cartpole-ppo"),
            "distpg --num-workers 0": distpg("--config cartpole-ppo --num-workers 0"),
            # rsl-rl and rl_games are for continuous actions
            **peers(CARTPOLE, "SB3", "RLlib", *FILES, "JAX file, cached", "SBX"),
            **peers(CARTPOLE, "skrl", "tianshou", "torchrl"),
        },
        figures=TO_GOAL,
        goals=(
            Goal("distpg", "SB3", "solved_s", 0.55, 0.65),
            Goal("distpg", "SB3", "train_s", 0.45),
            Goal("distpg", "RLlib", "solved_s", 0.4),
            Goal("distpg", "torch file", "solved_s", 1.0),
            Goal("distpg --num-workers 0", "SB3", "solved_s", 0.4),
        ),
        runs=5,
        # the step that resets an env is no env step to distpg, so short episodes shrink its batch
        same_work=False,
    ),
    "reinforce": Race(
        title="REINFORCE, CartPole-v1 to 475",
        sides={
            "distpg": distpg("--config cartpole-reinforce"),
            "single file": Side("-m benchmarks.peers.reinforce --solve 475", "rllib"),
        },
        figures=TO_GOAL,
        goals=(Goal("distpg", "single file", "solved_s", 1 / 3),),
        runs=5,
        same_work=False,
    ),
    "halfcheetah": Race(
        title="PPO, HalfCheetah-v5",
        sides={
            "distpg": distpg(DISTPG_SHORT),
            "distpg --compile off": distpg(f"{DISTPG_SHORT} --compile off"),
            "distpg --overlap": distpg(f"{DISTPG_SHORT} --overlap"),
            **peers(f"{SHORT} --steps 102400", *SB3_SIDES, *FILES, "SBX"),
            **peers(f"{SHORT} --steps 20480", *SLOW),
        },
        figures=RATE,
        goals=(
            *(Goal("distpg", peer, "env_steps_per_s", 3.0, 2.6) for peer in SB3_SIDES),
            *(Goal("distpg --overlap", peer, "env_steps_per_s", 4.2, 3.7) for peer in SB3_SIDES),
            Goal("distpg", "JAX file", "env_steps_per_s", 1.0),
            *(Goal(s, "RLlib", "env_steps_per_s", 5.0) for s in ("distpg", "distpg --overlap")),
        ),
    ),
    "large": Race(
        title="PPO, HalfCheetah-v5, large batches",
        sides={
            "distpg": distpg(DISTPG_LARGE),
            "distpg --compile on": distpg(f"{DISTPG_LARGE} --compile on"),
            **peers(LARGE, "SB3", *FILES, "SBX", *SLOW),
        },
        figures=RATE,
        goals=(
            Goal("distpg", "SB3", "env_steps_per_s", 2.0),
            Goal("distpg", "JAX file", "env_steps_per_s", 1.7),
        ),
    ),
    "pong": Race(
        title="PPO, Pong",
        sides={
            "distpg": distpg(DISTPG_PONG),
            "distpg --precision bf16": distpg(f"{DISTPG_PONG} --precision bf16"),
            **peers(
                "--env PongNoFrameskip-v4 --atari --n-envs 8 --n-steps 128 --minibatch 256 "
                "--epochs 4 --lr 2.5e-4 --gamma .99 --lam .95 --clip .1 --ent .01 --steps 6144",
                "SB3",
            ),
        },
        figures=RATE,
        goals=tuple(
            Goal(side, "SB3", "env_steps_per_s", 3.0)
            for side in ("distpg", "distpg --precision bf16")
        ),
    ),
}


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


def run_side(side: Side, seed: int, peers: Path) -> dict[str, Any]:
    """Train once; return the figures."""
    if not side.environment:
        return run_distpg(side.command, seed)
    return json.loads(output_of([side.python(peers), *side.command.split(), "--seed", str(seed)]))


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
    """Compare each goal whose sides took part with the ratio of medians."""
    rows: list[dict[str, Any]] = []
    for goal in race.goals:
        if goal.side in medians and goal.peer in medians:
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


def still_valid(name: str, machine: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the sides that are kept of this CPU and of commands as they are now."""
    file = FOLDER / f"races-{name}.json"
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {"sides": {}}
    commands = {side: now.command for side, now in RACES[name].sides.items()}
    return {
        side: {"date": kept["date"], **row}
        for side, row in kept["sides"].items()
        if kept.get("cpu") == machine["cpu"] and row["command"] == commands.get(side)
    }


def hold(name: str, chosen: Sequence[str], runs: int, peers: Path, *, keep: bool) -> None:
    """Hold a race between sides, print its table, and keep it if asked to."""
    race, machine = RACES[name], hardware()
    rows: dict[str, list[dict[str, Any]]] = {side: [] for side in chosen}
    for seed in range(runs):
        for side in chosen:
            rows[side].append({"seed": seed, **run_side(race.sides[side], seed, peers)})
            print(json.dumps({"race": name, "side": side, **rows[side][-1]}), flush=True)
    raced: dict[str, dict[str, Any]] = {
        side: {
            "command": race.sides[side].command,
            "date": machine["date"],
            "versions": versions_of(race.sides[side].python(peers)),
            "median": medians_of(own),
            "runs": own,
        }
        for side, own in rows.items()
    }
    show(race, raced, judge(race, {side: row["median"] for side, row in raced.items()}))
    if keep:
        known = still_valid(name, machine) | raced
        sides = {side: known[side] for side in race.sides if side in known}
        goals = judge(race, {side: row["median"] for side, row in sides.items()})
        about = {"title": race.title, "goals": goals, "sides": sides}
        save(f"races-{name}", {**machine, **about})
    if race.same_work:
        check_same_work({side: row["median"] for side, row in raced.items()})


def versions_of(python: str) -> dict[str, str]:
    """Return the versions of what is installed for a Python."""
    return json.loads(output_of([python, "-c", VERSIONS]))


def main() -> None:
    """Hold the races that are named, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("races", nargs="*", metavar="RACE", help=f"of {', '.join(RACES)}; or all")
    parser.add_argument("--runs", type=int, help="seeds; default: 5 for races to a goal, else 3")
    parser.add_argument("--sides", nargs="+", metavar="SIDE", help="default: all of a race's")
    parser.add_argument("--peers", type=Path, default=PEERS, help="folder that make peers fills")
    parser.add_argument("--no-save", action="store_true", help="print the tables alone")
    options = parser.parse_args()
    names: list[str] = options.races or list(RACES)
    if unknown := [name for name in names if name not in RACES]:
        parser.error(f"{unknown[0]} is none of {', '.join(RACES)}")
    for name in names:
        sides = RACES[name].sides
        if unknown := [side for side in options.sides or () if side not in sides]:
            parser.error(f"--sides: {unknown[0]} is none of {name}'s: {', '.join(sides)}")
        pythons = {sides[side].python(options.peers) for side in options.sides or sides}
        if missing := sorted(python for python in pythons if not Path(python).exists()):
            parser.error(f"--peers: there is no {missing[0]}; make peers creates it")
    for name in names:
        runs = options.runs or RACES[name].runs
        sides = options.sides or list(RACES[name].sides)
        hold(name, sides, runs, options.peers, keep=not options.no_save)


if __name__ == "__main__":
    main()
