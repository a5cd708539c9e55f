"""Learning curves of a table as a PNG: the mean over seeds and its bootstrap interval."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from distpg.reproduce.results import Results
from distpg.reproduce.table import Table
from distpg.results.figure import COLORS, draw_band, import_figure, save
from distpg.results.statistics import band, mean_of_runs

COLUMNS = 3
WIDTH, HEIGHT = 3.6, 2.7
"""Inches of a task's chart."""


def draw_curves(table: Table, libraries: Sequence[Results], path: Path) -> None:
    """Draw a chart for each environment that has runs: return of the last 100 episodes.

    A line is of a library, and of a task if the environment is trained on in several ways.

    Raises:
        InputError: matplotlib or rliable is not installed.
    """
    charts = [
        (env_id if len(names) > 1 else names[0], names)
        for env_id, names in table.groups().items()
        if any(name in library.tasks for library in libraries for name in names)
    ]
    columns = min(COLUMNS, len(charts))
    rows = -(-len(charts) // columns)
    figure = import_figure().Figure(figsize=(columns * WIDTH, rows * HEIGHT), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    colors: dict[str, str] = {}
    in_several_ways = any(len(names) > 1 for names in table.groups().values())
    for axes, (title, names) in zip(grid, charts, strict=False):
        seeds = dict.fromkeys(
            str(len(library.tasks[task].runs))
            for library, task in product(libraries, names)
            if task in library.tasks
        )
        title += f" (seeds: {' and '.join(seeds)})"
        axes.set_title(title, fontsize=9, parse_math=False)
        axes.set_xlabel("env steps", fontsize=8)
        for library, task in product(libraries, names):
            if task in library.tasks:
                way = table.way(task) if in_several_ways else ""
                line = name_line(library, way, alone=len(libraries) == 1)
                color = colors.setdefault(line, COLORS[len(colors) % len(COLORS)])
                draw_task(axes, library, task, line, color)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=7)
    for axes in grid[len(charts) :]:
        axes.set_visible(False)
    shown = [axes.get_legend_handles_labels() for axes in grid]
    handles = {label: line for pair in shown for line, label in zip(*pair, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8)
    figure.supylabel("mean return of 100 episodes", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path, dpi=110)


def name_line(library: Results, way: str, *, alone: bool) -> str:
    """Name a line by its library, by its way if the library is alone, or by both."""
    if not way:
        return library.name
    return way if alone else f"{library.name}, {way}"


def draw_task(axes: Any, library: Results, task: str, line: str, color: str) -> None:
    """Draw the curve of a library on a task, with the name of the line."""
    curves = [run.curve for run in library.tasks[task].runs.values()]
    returns = np.array([curve.returns for curve in curves], float)
    # from where all seeds have ended an episode
    known = np.isfinite(returns).all(0)
    steps = np.array(curves[0].env_steps)[known]
    found = band(returns[:, known], mean_of_runs)
    draw_band(axes, steps, found, color, label=line)
