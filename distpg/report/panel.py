"""The panel of a run: what it shows, as rows of text, and how it is drawn."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.panel import Panel
from rich.text import Text

from distpg.report.interval import mean_interval
from distpg.report.numbers import format_returns
from distpg.report.trends import format_seconds, sparkline

Row = tuple[str, Sequence[str]]
"""A label, and parts; lines break between parts, or within one that is longer than a line."""
LABEL_WIDTH = 12
GAP = "   "
"""Between parts of a row."""
FRAME_WIDTH = 4
"""Columns of the border and its padding."""
MIN_EPISODES = 10
"""Episodes from which on the interval of their mean is shown."""
MIN_CURVE = 8
"""Bars for which a line must have room, or the curve is left out."""
TIED = "\N{NO-BREAK SPACE}"
"""Stands for the spaces within a part, at which lines do not break."""
MEASURES = {
    "KL": ("train/approx_kl", "train/kl_divergence_loss", "gradient/kl"),
    "entropy": ("train/entropy_loss",),
    "explained variance": ("train/explained_variance",),
    "agreed": ("imitation/agreement",),
    "distance": ("imitation/distance",),
    "loss": ("imitation/loss",),
}
"""Of an update, and the tags that may have it: the first that is there counts."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """What the panel shows of a run after an iteration. Seconds are of training."""

    counts: Sequence[str]
    """How far it is, in words."""
    returns: Sequence[float] = ()
    """Of the last episodes."""
    target: float | None = None
    """Mean return at which the run stops."""
    curve: Sequence[float] = ()
    """Mean returns of the iterations so far."""
    elapsed_s: float = 0.0
    left: Sequence[tuple[float, str]] = ()
    """Seconds that are left until each limit, and its name."""
    evaluation: tuple[float, int] | None = None
    """Mean return of the last evaluation, and the iteration after which it was made."""
    evaluates: bool = False
    scalars: Mapping[str, float] = field(default_factory=dict[str, float])
    """Of the last iteration, by TensorBoard tag."""
    spent_s: Mapping[str, float] = field(default_factory=dict[str, float])
    """By phase of training."""
    workers: tuple[int, int] | None = None
    """Worker processes that answer, and all of them; None if there are none."""
    restarts: int = 0
    """Processes that were replaced."""
    last_fault: str | None = None
    """The last exception of an environment, and where it was raised."""


def rows_of(state: RunState, width: int) -> list[Row]:
    """Return the rows that describe a run, for lines of so many columns."""
    rows: list[Row] = [
        ("return", return_parts(state, width)),
        ("progress", state.counts),
        ("time", time_parts(state)),
        ("evaluation", evaluation_parts(state)),
        ("update", update_parts(state.scalars)),
        ("time spent", spent_parts(state.spent_s)),
        ("workers", worker_parts(state)),
        ("last fault", [state.last_fault or "none"]),
    ]
    return [(label, parts) for label, parts in rows if parts]


def return_parts(state: RunState, width: int) -> list[str]:
    """Return mean and interval of the last episodes, the target, and the curve in what is left."""
    if not state.returns:
        return ["no episode yet"]
    mean = sum(state.returns) / len(state.returns)
    half = mean_interval(state.returns) if len(state.returns) >= MIN_EPISODES else None
    text = " ± ".join(format_returns(*([mean] if half is None else [mean, half])))
    parts = [text] if state.target is None else [text, f"target {state.target:g}"]
    room = width - len(GAP.join([*parts, ""]))
    curve = sparkline(state.curve, room) if room >= MIN_CURVE else ""
    return [*parts, curve] if curve else parts


def time_parts(state: RunState) -> list[str]:
    """Return the elapsed time, and the time that is left to the nearest limit."""
    elapsed = f"elapsed {format_seconds(state.elapsed_s)}"
    if not state.left:
        return [elapsed]
    seconds, limit = min(state.left)
    return [elapsed, f"ETA {format_seconds(seconds)} ({limit})"]


def evaluation_parts(state: RunState) -> list[str]:
    """Return the last evaluation, if the run has any."""
    if state.evaluation is None:
        return ["none yet"] if state.evaluates else []
    mean_return, iteration = state.evaluation
    return [*format_returns(mean_return), f"after iteration {iteration:,}"]


def update_parts(scalars: Mapping[str, float]) -> list[str]:
    """Return what was measured of the last update."""
    parts: list[str] = []
    for name, tags in MEASURES.items():
        found = [scalars[tag] for tag in tags if tag in scalars]
        if found:
            # the loss is the negative entropy
            value = -found[0] if name == "entropy" else found[0]
            parts.append(f"{name} {value:.1%}" if name == "agreed" else f"{name} {value:.3g}")
    return parts


def spent_parts(spent_s: Mapping[str, float]) -> list[str]:
    """Return the share of each phase in the time of training."""
    total = sum(spent_s.values())
    return [f"{name} {seconds / total:.0%}" for name, seconds in spent_s.items()] if total else []


def worker_parts(state: RunState) -> list[str]:
    """Return how many worker processes answer, and how many processes were replaced."""
    if state.workers is None:
        return ["in this process"]
    alive, number = state.workers
    replaced = [f"{state.restarts} replaced"] if state.restarts else []
    return [f"{alive} of {number} alive", *replaced]


def lines_of(rows: Sequence[Row], width: int) -> list[tuple[str, str]]:
    """Break rows into lines of at most `width` columns: a label, or spaces below it, and text."""
    lines: list[tuple[str, str]] = []
    for label, parts in rows:
        tied = GAP.join(part.replace(" ", TIED) if len(part) <= width else part for part in parts)
        for line in textwrap.wrap(tied, width, break_on_hyphens=False):
            lines.append((label.ljust(LABEL_WIDTH), line.replace(TIED, " ")))
            label = ""
    return lines


def text_width(width: int) -> int:
    """Return the columns for the text of rows in a panel of so many columns."""
    return max(1, width - FRAME_WIDTH - LABEL_WIDTH)


def panel(title: str, rows: Sequence[Row], width: int) -> Panel:
    """Draw rows in a frame of so many columns, with a title."""
    text = Text(overflow="fold", no_wrap=False)
    for number, (label, line) in enumerate(lines_of(rows, text_width(width))):
        text.append("\n" * bool(number))
        text.append(label, style="dim")
        text.append(line)
    return Panel(text, title=Text(title, style="bold"), title_align="left", width=width)
