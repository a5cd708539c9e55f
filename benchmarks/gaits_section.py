"""The section of docs/results.md on how policies move, from the data in results/gaits.json."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gaits import CHEETAH, EPISODES, WALKER
from distpg.report.texts import table as markdown_table

CHEETAH_TEXT = f"""\
The final policy of each seed played {EPISODES} episodes without noise. A seed runs on its back if
the torso is upside down in more than half of their steps. Rows of `gaits` (`benchmarks/gaits.toml`,
300,000 env steps) have the settings of the table ppo-mujoco, and what their name adds: beta
(`--action-distribution beta`), fewer_epochs (`--num-epochs 4`), less_noise (`--log-std-init -1`),
narrow_clip (`--clip-obs 5`) and raw_rewards (`--no-normalize-rewards`). The other rows are of
tables with 1,000,000 env steps."""


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
    yield from ("## How HalfCheetah runs", "")
    yield CHEETAH_TEXT
    yield from ("", *cheetah_table(tasks), "")


def walker_section(tasks: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    """Yield how each seed uses its legs."""
    yield from ("## How Walker2d walks", "")
    yield f"The final policy of each seed played {EPISODES} episodes without noise, of up to 1,000"
    yield "steps: the share of the steps in which a foot touches the floor, and how far a thigh"
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
