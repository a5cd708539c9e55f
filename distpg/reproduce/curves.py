"""Learning curves of a table as a PNG: the mean over seeds and its bootstrap interval."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distpg.reproduce.results import Results, TaskResults
from distpg.reproduce.table import Table
from distpg.results.figure import (
    ALONE,
    COLUMNS,
    Look,
    draw_band,
    import_figure,
    looks_of,
    save,
    scale,
    style_axes,
)
from distpg.results.statistics import band, mean_of_runs

WIDTH, HEIGHT = 3.6, 2.7
"""Inches of one chart of several."""


class Line(NamedTuple):
    """What a library reached on a task, and its name in the legend."""

    name: str
    results: TaskResults


def draw_curves(table: Table, libraries: Sequence[Results], path: Path) -> None:
    """Draw a chart for each environment that has runs: return of the last 100 episodes.

    A line is of a library, and of a task if the environment is trained on in several ways.

    Raises:
        InputError: matplotlib or rliable is not installed.
    """
    charts = {title: lines for title, lines in charts_of(table, libraries).items() if lines}
    columns = min(COLUMNS, len(charts))
    rows = -(-len(charts) // columns)
    size = ALONE if len(charts) == 1 else (columns * WIDTH, rows * HEIGHT)
    figure = import_figure().Figure(figsize=size, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    looks = looks_of(line.name for lines in charts.values() for line in lines)
    for axes, (title, lines) in zip(grid, charts.items(), strict=False):
        draw_chart(axes, title, lines, looks)
    for axes in grid[len(charts) :]:
        axes.set_visible(False)
    shown = [axes.get_legend_handles_labels() for axes in grid]
    handles = {label: line for pair in shown for line, label in zip(*pair, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8)
    figure.supylabel("mean return of 100 episodes", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path, dpi=110)


def charts_of(table: Table, libraries: Sequence[Results]) -> dict[str, list[Line]]:
    """Return the lines of each chart, by its title."""
    in_several_ways = any(len(names) > 1 for names in table.groups().values())
    return {
        env_id if len(names) > 1 else names[0]: [
            Line(
                name_line(library, table.way(task) if in_several_ways else "", libraries),
                library.tasks[task],
            )
            for library in libraries
            for task in names
            if task in library.tasks
        ]
        for env_id, names in table.groups().items()
    }


def name_line(library: Results, way: str, libraries: Sequence[Results]) -> str:
    """Name a line by its library, by its way if the library is alone, or by both."""
    if not way:
        return library.name
    return way if len(libraries) == 1 else f"{library.name}, {way}"


def draw_chart(axes: Any, title: str, lines: Sequence[Line], looks: dict[str, Look]) -> None:
    """Draw the lines of a chart, with the numbers of their seeds in its title."""
    seeds = " and ".join(dict.fromkeys(str(len(line.results.runs)) for line in lines))
    title += f" ({seeds} seed)" if seeds == "1" else f" ({seeds} seeds)"
    axes.set_title(title, fontsize=9, loc="left", parse_math=False)
    style_axes(axes)
    curves = [run.curve for line in lines for run in line.results.runs.values()]
    unit, label = scale(max(curve.env_steps[-1] for curve in curves), "steps")
    axes.set_xlabel(label, fontsize=8)
    for line in lines:
        draw_line(axes, line, unit, looks[line.name])


def draw_line(axes: Any, line: Line, unit: float, look: Look) -> None:
    """Draw a curve from where all seeds have ended an episode to where the last seed stopped."""
    runs = list(line.results.runs.values())
    steps = np.array(runs[0].curve.env_steps)
    returns = np.array([run.curve.returns for run in runs], float)
    last = np.searchsorted(steps, max(run.env_steps for run in runs))
    known = np.isfinite(returns).all(0) & (np.arange(len(steps)) <= last)
    found = band(returns[:, known], mean_of_runs)
    draw_band(axes, steps[known] / unit, found, *look, label=line.name)
