"""Real runs of a second, and files as Stable-Baselines3 writes them."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# protobuf creates these classes at run time, invisible to pyright
# pyright: reportAttributeAccessIssue=false
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from distpg import train
from tests.settings import config_of

TINY = {
    "num_workers": 0,
    "num_envs": 2,
    "num_steps": 32,
    "num_epochs": 1,
    "hidden_sizes": (8,),
    "compile": "off",
    "learner_threads": 1,
    "gradient_stats_every": 0,
    "histogram_every": 0,
    "total_steps": 600,
}


def short_run(folder: Path, **changes: Any) -> Path:
    """Train for a moment."""
    return train(config_of({**TINY, **changes}), run_dir=folder, quiet=True).run_dir


def column(run: Path, file: str, name: str) -> list[float | None]:
    """Return the numbers of a column, None where there is none."""
    with (run / file).open(newline="") as rows:
        return [float(row[name]) if row.get(name) else None for row in csv.DictReader(rows)]


def last(run: Path, name: str) -> float:
    """Return a number of the last iteration."""
    value = column(run, "progress.csv", name)[-1]
    assert value is not None
    return value


def write_events(folder: Path, tag: str, points: Sequence[tuple[int, float]]) -> None:
    """Write a scalar as Stable-Baselines3 does, a point each 2 s from 10 s after the start."""
    folder.mkdir(parents=True)
    start = 1_000_000.0
    with (folder / f"events.out.tfevents.{start:.0f}.host").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=start, file_version="brain.Event:2").SerializeToString())
        for number, (step, value) in enumerate(points):
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            event = Event(wall_time=start + 10 + 2 * number, step=step, summary=summary)
            writer.write(event.SerializeToString())


def write_monitor(
    file: Path, env_id: str, start: float, episodes: Iterable[tuple[float, int, float]]
) -> None:
    """Write episodes (r, l, t) as a Monitor does."""
    head = json.dumps({"t_start": start, "env_id": env_id})
    rows = "".join(f"{r},{length},{t}\n" for r, length, t in episodes)
    file.write_text(f"#{head}\nr,l,t\n{rows}")
