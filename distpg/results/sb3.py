"""Runs of Stable-Baselines3: their TensorBoard events, or the files of its Monitor.

A Monitor writes an episode a row (return r, length l, seconds t) below a line of JSON with the
environment and the start. Files of several environments are one run.
"""

import importlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from distpg.errors import InputError
from distpg.results.episodes import number, parse_rows, read_text, running_means
from distpg.results.runs import RETURN
from distpg.results.series import Series, Source, X

LIBRARY = "Stable-Baselines3"
EVENTS, MONITOR = "events.out.tfevents.", "monitor.csv"
"""Beginning and end of the names of its files."""


class Episode(NamedTuple):
    """An episode of a Monitor."""

    ended_at: float
    """Unix time."""
    length: float
    total: float
    """Its return."""


class Monitor(NamedTuple):
    """What a Monitor wrote."""

    env_id: str
    started_at: float
    """Unix time."""
    episodes: list[Episode]


def is_sb3(names: Collection[str]) -> bool:
    """Return whether a folder with files of these names is a run of Stable-Baselines3."""
    return any(name.startswith(EVENTS) or name.endswith(MONITOR) for name in names)


def sb3_source(path: Path) -> Source:
    """Return a run of Stable-Baselines3.

    Folders of the same name but for a number at the end, as Stable-Baselines3 makes them (PPO_1,
    PPO_2), are runs of the same settings.

    Raises:
        InputError: the file of a Monitor cannot be read.
    """
    folder = path.absolute()
    name = re.sub(r"(^|[-_])\d+$", "", folder.name) or folder.parent.name
    monitors = read_monitors(path)
    return Source(
        path=path,
        library=LIBRARY,
        env_id=next((monitor.env_id for monitor in monitors), ""),
        algo=f"SB3 {name}",
        seed=None,
        settings={"folder": str(path.parent)},
        read=lambda tag, x: read_metric(path, tag, x),
    )


def read_metric(path: Path, tag: str, x: X) -> Series:
    """Return a metric of a run, from its events; the return from its Monitors if they lack it.

    Raises:
        InputError: its events, or the file of a Monitor, cannot be read.
    """
    found = Series.of(read_events(path, tag, x)) if any(path.glob(f"{EVENTS}*")) else Series.of(())
    if len(found.x) or tag != RETURN:
        return found
    return Series.of(read_returns(read_monitors(path), x))


def read_events(path: Path, tag: str, x: X) -> Iterator[tuple[float, float]]:
    """Yield the points of a scalar; seconds count from the first event.

    Raises:
        InputError: its events cannot be read.
    """
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    # all scalars, and little of what else there is
    kept = {"scalars": 0, "tensors": 1, "images": 1, "audio": 1, "compressedHistograms": 1}
    protobuf = importlib.import_module("google.protobuf.message")
    try:
        events: Any = reader.EventAccumulator(str(path), kept).Reload()
    except (OSError, protobuf.DecodeError) as error:
        raise InputError(f"{path}: its events cannot be read: {error}") from error
    if tag in events.Tags()["scalars"]:
        began = events.FirstEventTimestamp()
        for event in events.Scalars(tag):
            yield (event.step if x == "steps" else event.wall_time - began), event.value


def read_monitors(path: Path) -> list[Monitor]:
    """Read the files of the Monitors of a run.

    Raises:
        InputError: one cannot be read, or is none.
    """
    return [read_monitor(file) for file in sorted(path.glob(f"*{MONITOR}"))]


def read_monitor(file: Path) -> Monitor:
    """Read the file of a Monitor.

    Raises:
        InputError: it cannot be read, or is none.
    """
    head, _, text = read_text(file).partition("\n")
    try:
        began: Mapping[str, Any] = json.loads(head.removeprefix("#"))
        start = float(began["t_start"])
        env_id = str(began.get("env_id"))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"{file} is not the file of a Monitor: {error!r:.100}") from error
    episodes: list[Episode] = []
    for row in parse_rows(file, text):
        t, length, total = (number(row, name) for name in ("t", "l", "r"))
        if t is not None and length is not None and total is not None:
            episodes.append(Episode(start + t, length, total))
    # "None" if the environment is not registered
    return Monitor("" if env_id == "None" else env_id, start, episodes)


def read_returns(monitors: Collection[Monitor], x: X) -> Iterator[tuple[float, float]]:
    """Yield the mean return of the last 100 episodes at the end of each.

    Env steps are counted as Stable-Baselines3 does: the lengths of the episodes so far.
    """
    episodes = sorted(episode for monitor in monitors for episode in monitor.episodes)
    began = min((monitor.started_at for monitor in monitors), default=0.0)
    steps = accumulate(episode.length for episode in episodes)
    means = running_means([episode.total for episode in episodes])
    for episode, count, mean in zip(episodes, steps, means, strict=True):
        yield (count if x == "steps" else episode.ended_at - began), mean
