"""What runs wrote for TensorBoard, as columns with a row for each iteration."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def iterations(run: Path, tags: Sequence[str]) -> list[dict[str, float]]:
    """Return for each iteration but the first its scalars, and the seconds since the one before.

    The first has nothing before it but the start of the run, and warms up.
    """
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    columns = {tag: events.Scalars(tag) for tag in tags}
    ends = [event.wall_time for event in columns[tags[0]]]
    return [
        {"iteration_s": after - before} | {tag: columns[tag][row].value for tag in tags}
        for row, (before, after) in enumerate(pairwise(ends), start=1)
    ]
