"""How policies of HalfCheetah and Walker2d move: on their feet, or otherwise.

    distpg reproduce benchmarks/gaits.toml
    python -m benchmarks.gaits runs/reproduce/gaits/* runs/reproduce/ppo-mujoco/Walker2d-v5

Plays the final policy of each seed in the folders of tasks without noise, and saves
results/gaits.json.
"""

import argparse
import json
import math
import statistics
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from benchmarks.results import hardware, save
from distpg import load_policy
from distpg.report.texts import table as markdown_table

EPISODES = 5
CHEETAH, WALKER = "HalfCheetah-v5", "Walker2d-v5"
PITCH = 1
"""Place of the torso's pitch in an observation of HalfCheetah, in radians; 0 is upright."""
THIGHS = (2, 5)
"""Places of the right and the left thigh's angle in an observation of Walker2d, in radians."""
FEET = ("foot_geom", "foot_left_geom")


def note_cheetah(_: Any, obs: Any) -> tuple[float, ...]:
    """Note whether the torso is upside down."""
    return (float(math.cos(obs[PITCH]) < 0),)


def note_walker(env: Any, obs: Any) -> tuple[float, ...]:
    """Note whether each foot touches something, which can only be the floor; and the thighs."""
    model, data = env.unwrapped.model, env.unwrapped.data
    touching = set(data.contact.geom.ravel().tolist())
    feet = (float(model.geom(name).id in touching) for name in FEET)
    return (*feet, *(float(obs[place]) for place in THIGHS))


Note = Callable[[Any, Any], tuple[float, ...]]
Sum = Callable[[Sequence[float]], float]
NOTES: Mapping[str, tuple[Note, Mapping[str, Sum]]] = {
    CHEETAH: (note_cheetah, {"on_its_back": statistics.fmean}),
    WALKER: (
        note_walker,
        {
            "right_foot": statistics.fmean,
            "left_foot": statistics.fmean,
            "right_thigh": statistics.pstdev,
            "left_thigh": statistics.pstdev,
        },
    ),
}
"""What is noted of each step, and how the steps are summed up."""


def play(run: Path) -> dict[str, Any]:
    """Play a run's final policy; return its mean return and length, and how it moves."""
    env_id = tomllib.loads((run / "config.toml").read_text())["env_id"]
    if env_id not in NOTES:
        raise SystemExit(f"{run} is of {env_id}; gaits are of {' and '.join(NOTES)}")
    note, sums = NOTES[env_id]
    policy, env = load_policy(run), gym.make(env_id)
    returns, notes = list[float](), list[tuple[float, ...]]()
    for episode in range(EPISODES):
        obs, _ = env.reset(seed=episode)
        returns.append(0.0)
        over = False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(policy.act(obs))
            returns[-1] += float(reward)
            notes.append(note(env, obs))
            over = terminated or truncated
    env.close()
    columns = zip(sums.items(), zip(*notes, strict=True), strict=True)
    found = {name: total(column) for (name, total), column in columns}
    return {
        "env_id": env_id,
        "return": statistics.fmean(returns),
        "length": len(notes) / EPISODES,
        **found,
    }


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
    tasks: dict[str, list[dict[str, Any]]] = content["tasks"]
    cheetahs, walkers = of_env(tasks, CHEETAH), of_env(tasks, WALKER)
    if cheetahs:
        yield from cheetah_section(cheetahs)
    if walkers:
        yield from walker_section(walkers)
    yield f"`{content['command']}`, {content['date']}."
    yield ""


def cheetah_section(tasks: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield how many seeds of each task run on their back."""
    yield from ("### How HalfCheetah runs", "")
    yield f"The final policy of each seed played {EPISODES} episodes without noise. It is on its"
    yield "back if the torso is upside down in most of their steps. Rows of `gaits` have 300,000"
    yield "env steps; each but the first has one setting changed: `--log-std-init -1` (less_noise),"
    yield "`--num-epochs 4`, `--no-normalize-rewards`, `--clip-obs 5`; the other rows, 1,000,000."
    yield from ("", *cheetah_table(tasks), "")


def walker_section(tasks: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield how each seed uses its legs."""
    yield from ("### How Walker2d walks", "")
    yield f"The final policy of each seed played {EPISODES} episodes without noise, of up to 1,000"
    yield "steps: the part of the steps in which a foot touches the floor, and how far a thigh"
    yield "swings (the standard deviation of its angle, in radians)."
    yield from ("", *walker_table(tasks), "")


def of_env(
    tasks: Mapping[str, list[dict[str, Any]]], env_id: str
) -> dict[str, list[dict[str, Any]]]:
    """Return the tasks of an environment."""
    return {name: seeds for name, seeds in tasks.items() if seeds[0]["env_id"] == env_id}


def cheetah_table(tasks: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """Return how many seeds of each task run on their back."""
    rows: list[tuple[str, ...]] = []
    for name, seeds in tasks.items():
        backs = [seed["on_its_back"] > 0.5 for seed in seeds]
        texts = [
            f"{seed['return']:,.0f}{' (back)' if back else ''}"
            for seed, back in zip(seeds, backs, strict=True)
        ]
        rows.append((name, f"{sum(backs)} of {len(backs)}", "; ".join(texts)))
    return markdown_table(("", "on their back", "return of each seed"), rows)


def walker_table(tasks: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """Return how each seed uses its legs, the lowest return first."""
    every = [(name, seed) for name, seeds in tasks.items() for seed in seeds]
    rows = [
        (
            f"{name}, seed {seed['seed']}",
            f"{seed['return']:,.0f}",
            f"{seed['length']:,.0f}",
            f"{seed['right_foot']:.0%}, {seed['left_foot']:.0%}",
            f"{seed['right_thigh']:.2f}, {seed['left_thigh']:.2f}",
        )
        for name, seed in sorted(every, key=lambda pair: pair[1]["return"])
    ]
    head = ("", "return", "steps", "right foot, left foot on the floor", "right, left thigh")
    return markdown_table(head, rows)


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
