"""How HalfCheetah runs: on its feet, or on its back, where returns end near 1,800.

    distpg reproduce benchmarks/gaits.toml
    python -m benchmarks.gaits runs/reproduce/gaits/* runs/reproduce/ppo-mujoco/HalfCheetah-v5

Plays the final policy of each seed in the folders of tasks without noise, and saves
results/gaits.json.
"""

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from benchmarks.results import hardware, save
from distpg import load_policy
from distpg.report.texts import table as markdown_table

ENV_ID = "HalfCheetah-v5"
PITCH = 1
"""Place of the torso's pitch in an observation, in radians; 0 is upright."""
EPISODES = 5


def play(run: Path) -> dict[str, Any]:
    """Play a run's final policy; return its mean return, and the part of the steps on its back."""
    policy, env = load_policy(run), gym.make(ENV_ID)
    returns, upside_down = list[float](), list[bool]()
    for episode in range(EPISODES):
        obs, _ = env.reset(seed=episode)
        returns.append(0.0)
        over = False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(policy.act(obs))
            returns[-1] += float(reward)
            upside_down.append(math.cos(obs[PITCH]) < 0)
            over = terminated or truncated
    env.close()
    return {"return": statistics.fmean(returns), "on_its_back": statistics.fmean(upside_down)}


def seeds_of(folder: Path) -> list[dict[str, Any]]:
    """Play each seed of a task."""
    runs = sorted(path for path in folder.glob("seed-*") if path.is_dir())
    return [{"seed": int(run.name.removeprefix("seed-")), **play(run)} for run in runs]


def gaits_section(data: Path) -> Iterator[str]:
    """Yield the lines of the section of docs/results.md: none if nothing is measured."""
    file = data / "gaits.json"
    if not file.exists():
        return
    content = json.loads(file.read_text())
    yield from ("### How HalfCheetah runs", "")
    yield f"The final policy of each seed played {EPISODES} episodes without noise. It is on its"
    yield "back if the torso is upside down in most of their steps. Rows of `gaits` have 300,000"
    yield "env steps; each but the first has one setting changed: `--log-std-init -1` (less_noise),"
    yield "`--num-epochs 4`, `--no-normalize-rewards`, `--clip-obs 5`; the other rows, 1,000,000."
    rows: list[tuple[str, ...]] = []
    for name, seeds in content["tasks"].items():
        backs = [seed["on_its_back"] > 0.5 for seed in seeds]
        texts = [
            f"{seed['return']:,.0f}{' (back)' if back else ''}"
            for seed, back in zip(seeds, backs, strict=True)
        ]
        rows.append((name, f"{sum(backs)} of {len(backs)}", "; ".join(texts)))
    head = ("", "on their back", "return of each seed")
    yield from ("", *markdown_table(head, rows), "")
    yield f"`{content['command']}`, {content['date']}."
    yield ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Play what is in the folders."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="of tasks; files are passed over")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    folders = [folder for folder in options.folders if folder.is_dir()]
    tasks = {f"{folder.parent.name}/{folder.name}": seeds_of(folder) for folder in folders}
    empty = [name for name, seeds in tasks.items() if not seeds]
    if empty or not tasks:
        parser.error(f"no runs seed-N in {', '.join(empty) or 'any folder'}")
    save("gaits", {**hardware(), "tasks": tasks})


if __name__ == "__main__":
    main()
