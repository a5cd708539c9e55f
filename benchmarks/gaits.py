"""How policies of HalfCheetah and Walker2d move: on their feet, or otherwise.

    distpg reproduce benchmarks/gaits.toml
    python -m benchmarks.gaits runs/reproduce/gaits/* runs/reproduce/ppo-mujoco/Walker2d-v5

Plays the final policy of each seed in the folders of tasks without noise, and saves
results/gaits.json.
"""

import argparse
import math
import statistics
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from benchmarks.results import hardware, save
from distpg import load_policy

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
