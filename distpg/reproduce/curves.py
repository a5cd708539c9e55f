"""Learning curves of a table as a PNG: the mean over seeds and its bootstrap interval."""

from collections.abc import Sequence
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
    """Draw a chart for each task that has runs: return of the last 100 episodes over env steps.

    Raises:
        InputError: matplotlib or rliable is not installed.
    """
    measured = [x for x in table.tasks if any(x in library.tasks for library in libraries)]
    columns = min(COLUMNS, len(measured))
    rows = -(-len(measured) // columns)
    figure = import_figure().Figure(figsize=(columns * WIDTH, rows * HEIGHT), layout="constrained")
    charts = figure.subplots(rows, columns, squeeze=False).flat
    grid = list(charts)
    for axes, task in zip(grid, measured, strict=False):
        axes.set_title(task, fontsize=9)
        axes.set_xlabel("env steps", fontsize=8)
        for library, color in zip(libraries, COLORS, strict=False):
            if task in library.tasks:
                draw_task(axes, library, task, color)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=7)
    for axes in grid[len(measured) :]:
        axes.set_visible(False)
    shown = [axes.get_legend_handles_labels() for axes in grid]
    handles = {label: line for pair in shown for line, label in zip(*pair, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8)
    figure.supylabel("mean return of 100 episodes", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path, dpi=110)


def draw_task(axes: Any, library: Results, task: str, color: str) -> None:
    """Draw the curve of a library on a task."""
    curves = [run.curve for run in library.tasks[task].runs.values()]
    returns = np.array([curve.returns for curve in curves], float)
    # from where all seeds have ended an episode
    known = np.isfinite(returns).all(0)
    steps = np.array(curves[0].env_steps)[known]
    found = band(returns[:, known], mean_of_runs)
    draw_band(axes, steps, found, color, label=f"{library.name}, {len(curves)} seeds")
