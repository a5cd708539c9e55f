"""Draw the races that are kept in results/: how many times as fast as a peer distpg is.

python -m benchmarks.race_chart --output docs/races.png
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.races import RACES
from benchmarks.results import FOLDER

mpl.use("agg")

FIGURE = FOLDER.parents[1] / "docs" / "races.png"


def speedups(race: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Return of each goal its label, how many times as fast, and how many times was wanted."""
    rows: list[tuple[str, float, float]] = []
    for goal in race["goals"]:
        seconds = not goal["figure"].endswith("_per_s")
        ratio, wanted = (1 / x if seconds else x for x in (goal["ratio"], goal["wanted"]))
        after_start = " without start-up" if goal["figure"] == "train_s" else ""
        label = f"{race['title']}{after_start}: {goal['side']} / {goal['peer']}"
        rows.append((label, ratio, wanted))
    return rows


def main() -> None:
    """Draw a bar for each goal, with a tick at what was wanted."""
    from matplotlib import pyplot as plt

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FIGURE)
    options = parser.parse_args()
    files = [file for name in RACES if (file := FOLDER / f"races-{name}.json").exists()]
    if not files:
        parser.error("no race is kept yet; python -m benchmarks.races holds them")
    races = [speedups(json.loads(file.read_text())) for file in files]
    rows = [row for race in races for row in race]
    labels, ratios, wanted = zip(*rows, strict=True)
    colors = [f"C{number}" for number, race in enumerate(races) for _ in race]
    places = range(len(rows))
    figure, axes = plt.subplots(figsize=(9, 1.1 + 0.26 * len(rows)), layout="constrained")
    bars = axes.barh(places, ratios, color=colors, height=0.7)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.plot(wanted, places, "|", color="black", markersize=13, label="target")
    axes.axvline(1, color="gray", linewidth=0.8)
    axes.set_yticks(places, labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the peer (ratio of medians)")
    axes.margins(x=0.08)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper right", frameon=False, fontsize=8)
    figure.savefig(options.output, dpi=120)


if __name__ == "__main__":
    main()
