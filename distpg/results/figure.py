"""Curves as a figure: a panel for each environment, each curve named where it ends."""

import importlib
import io
import textwrap
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from distpg.extras import import_extra
from distpg.results.curves import GroupCurve
from distpg.results.series import X
from distpg.results.statistics import Band
from distpg.run.directory import write_atomically

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colors that are told apart by color-blind readers, too (Okabe and Ito 2008)."""
STYLES = ("-", "--", ":", "-.")
"""Of lines, once all colors are used."""
COLUMNS = 3
ALONE, PANEL = (6.4, 3.8), (4.6, 3.1)
"""Inches of the only panel, and of one of several."""
NAME_WIDTH = 24
"""Characters of a line of a curve's name."""
LINE_HEIGHT = 0.065
"""Of such a line, as a fraction of a panel's height."""
SCALES: dict[X, tuple[tuple[float, float, str], ...]] = {
    "steps": (
        (1e6, 1e6, "env steps (millions)"),
        (2e3, 1e3, "env steps (thousands)"),
        (0, 1, "env steps"),
    ),
    "time": (
        (7200, 3600, "training time (hours)"),
        (120, 60, "training time (minutes)"),
        (0, 1, "training time (seconds)"),
    ),
}
"""From which end on the x axis counts in how many, and its label."""
EXPLANATION = "Lines: interquartile mean over runs. Bands: its 95% bootstrap interval."


class Look(NamedTuple):
    """How a curve is drawn."""

    color: str
    style: str


def import_figure() -> Any:
    """Import matplotlib's figures.

    Raises:
        InputError: it is not installed.
    """
    return import_extra("matplotlib.figure", "results", needed_by="a chart")


def draw(curves: Sequence[GroupCurve], x: X, y_label: str, path: Path) -> None:
    """Draw curves to a PNG or SVG file; those of the same label look the same in all panels.

    Raises:
        InputError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    panels: dict[str, list[GroupCurve]] = {}
    for curve in curves:
        panels.setdefault(curve.group.env_id, []).append(curve)
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    width, height = ALONE if len(panels) == 1 else (PANEL[0] * columns, PANEL[1] * rows)
    figure = import_figure().Figure(figsize=(width, height), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    looks = looks_of(curve.group.label for curve in curves)
    for axes, (env_id, own) in zip(grid, panels.items(), strict=False):
        title = env_id or "environment not known"
        axes.set_title(title, fontsize=10, loc="left", parse_math=False)
        style_axes(axes)
        end = max(float(curve.x[-1]) for curve in own)
        unit, x_label = scale(end, x)
        for curve in own:
            draw_band(axes, curve.x / unit, curve.y, *looks[curve.group.label])
        axes.set_xlim(left=0, right=end / unit)
        axes.set_xlabel(x_label, fontsize=9)
        name_ends(axes, own, looks)
    for axes in grid[::columns]:
        axes.set_ylabel("\n".join(textwrap.wrap(y_label, 40)), fontsize=9, parse_math=False)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if any(curve.num_runs > 1 for curve in curves):
        figure.supxlabel(EXPLANATION, fontsize=7, color="0.35")
    save(figure, path, dpi=150)


def looks_of(labels: Iterable[str]) -> dict[str, Look]:
    """Give each label a color, and a line style once all colors are used."""
    return {
        label: Look(COLORS[i % len(COLORS)], STYLES[i // len(COLORS) % len(STYLES)])
        for i, label in enumerate(dict.fromkeys(labels))
    }


def scale(end: float, x: X) -> tuple[float, str]:
    """Return what the x axis counts in, and its label."""
    return next((unit, label) for least, unit, label in SCALES[x] if end >= least)


def style_axes(axes: Any) -> None:
    """Leave of the frame the two axes, over a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.5")
    axes.tick_params(labelsize=8, color="0.5")
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def draw_band(
    axes: Any, x: np.ndarray, y: Band, color: str, style: str = "-", label: str | None = None
) -> None:
    """Draw a line, and the interval around it if it has one."""
    marker = "o" if len(x) == 1 else ""
    axes.plot(x, y.center, style, color=color, marker=marker, linewidth=1.6, label=label)
    axes.fill_between(x, y.low, y.high, color=color, alpha=0.2, linewidth=0)


def name_ends(axes: Any, curves: Sequence[GroupCurve], looks: dict[str, Look]) -> None:
    """Name each curve beside the panel, at the height where it ends."""
    names = [name_of(curve) for curve in curves]
    low, high = axes.get_ylim()
    ends = [(float(curve.y.center[-1]) - low) / (high - low) for curve in curves]
    sizes = [LINE_HEIGHT * (1 + name.count("\n")) for name in names]
    for curve, name, height in zip(curves, names, spread(ends, sizes), strict=True):
        axes.annotate(
            name,
            (1.02, height),
            xycoords="axes fraction",
            color=looks[curve.group.label].color,
            fontsize=8,
            va="center",
            annotation_clip=False,
            parse_math=False,
        )


def name_of(curve: GroupCurve) -> str:
    """Return the name of a curve, on lines that are not too long."""
    runs = f" ({curve.num_runs} runs)" if curve.num_runs > 1 else ""
    return "\n".join(textwrap.wrap(f"{curve.group.label}{runs}", NAME_WIDTH))


def spread(heights: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Move the centers of texts apart, as little as need be, so that none covers another.

    Those that touch keep the mean of their heights, unless they would be above 1.
    """
    order = sorted(range(len(heights)), key=heights.__getitem__)
    distances = [(sizes[below] + sizes[above]) / 2 for below, above in pairwise(order)]
    stacked = list(accumulate(distances, initial=0.0))
    starts = ascending([heights[i] - offset for i, offset in zip(order, stacked, strict=True)])
    found = list(heights)
    for i, start, offset in zip(order, starts, stacked, strict=True):
        found[i] = min(start, 1 - stacked[-1]) + offset
    return found


def ascending(values: Sequence[float]) -> list[float]:
    """Return the numbers that do not descend and are nearest to values, by least squares."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    return [fmean(block) for block in blocks for _ in block]


def save(figure: Any, path: Path, dpi: int) -> None:
    """Write a figure; the file depends on nothing but the figure and the version of matplotlib.

    Raises:
        OSError: the file cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    content = io.BytesIO()
    with importlib.import_module("matplotlib").rc_context({"svg.hashsalt": "distpg"}):
        figure.savefig(content, format=kind, dpi=dpi, metadata=metadata)
    write_atomically(path, content.getvalue())
