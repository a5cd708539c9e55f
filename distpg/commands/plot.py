"""`plot`: draw the curves of runs, those of several seeds as one with its interval."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from distpg.config.values import did_you_mean, one_of
from distpg.errors import InputError
from distpg.report.metrics import METRICS
from distpg.report.tables import FILES
from distpg.results.curves import GroupCurve, curve_of, summary, to_csv
from distpg.results.figure import draw, import_figure
from distpg.results.groups import check_setting, find_sources, group_runs, place_unnamed
from distpg.results.runs import RETURN
from distpg.results.sb3 import MONITOR
from distpg.results.series import X
from distpg.run.directory import write_atomically

KINDS = (".png", ".svg", ".csv")
SHOWN = 3
"""Runs that are named if none has the metric."""
COVERAGE = {2: 50, 3: 75, 4: 88}
"""Percent of cases in which a bootstrap interval of so many runs, nominally of 95%, holds the true
value, measured on normal values."""


@dataclass(frozen=True, kw_only=True)
class PlotFlags:
    """Draw curves of runs; several seeds are one curve with a bootstrap interval."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN ...")] = (Path("runs"),)
    """Run directories, folders of runs, and folders with event files or monitor files of
    Stable-Baselines3."""
    by: Annotated[str | None, arg(metavar="SETTING")] = None
    """Setting, such as algo; runs of the same value are one curve, whatever else differs. Default:
    runs of the same settings."""
    x: X = "steps"
    """Over env steps, or over seconds of training."""
    y: Annotated[str, arg(metavar="return|TAG")] = "return"
    """return, which is the mean of the last 100 episodes, or a tag of TensorBoard."""
    out: Annotated[Path, arg(metavar="FILE.png|.svg|.csv")] = Path("curves.png")
    """File to write; a .csv has the points."""


def main(flags: PlotFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    kind = flags.out.suffix.lower()
    if kind not in KINDS:
        raise InputError(f"--out: {str(flags.out)!r} does not end in one of {one_of(KINDS)}")
    check_replaceable(flags.out)
    by = None if flags.by is None else check_setting(flags.by)
    if kind != ".csv":
        import_figure()
    curves = curves_of(flags, by)
    write(flags, curves)
    print("\n".join(summary(curves, flags.x)))
    print(f"the curves: {flags.out}")
    return 0


def check_replaceable(out: Path) -> None:
    """Check that a file has not the name of one of a run.

    Raises:
        InputError: it has.
    """
    if out.name.lower() in FILES or out.name.lower().endswith(MONITOR):
        raise InputError(f"--out: {str(out)!r} is the name of a file of a run; choose another")


def curves_of(flags: PlotFlags, by: str | None) -> list[GroupCurve]:
    """Read the curves, and tell on standard error what there is to know of them.

    Raises:
        InputError: there are no runs, or none has the metric.
    """
    tag = RETURN if flags.y == "return" else flags.y
    found, unread = find_sources(flags.runs)
    sources, assumed = place_unnamed(found)
    groups = group_runs(sources, by)
    curves: list[GroupCurve] = []
    left_out: list[str] = []
    for group in groups:
        curve, notes = curve_of(group, tag, flags.x)
        left_out += notes
        if curve is not None:
            curves.append(curve)
    if not curves:
        tags = [metric.tag for metric in METRICS]
        raise InputError(
            f"--y: no run has values of {flags.y!r} ({shortened(left_out)})"
            f"{did_you_mean(flags.y, tags)}"
        )
    of_groups = [note for group in groups for note in group.notes()]
    for note in [*unread, *assumed, *of_groups, *left_out, *interval_notes(curves)]:
        print(note, file=sys.stderr)
    return curves


def shortened(notes: Sequence[str]) -> str:
    """Return the first notes, and how many others there are."""
    others = len(notes) - SHOWN
    return "; ".join([*notes[:SHOWN], *([f"{others} others"] if others > 0 else [])])


def interval_notes(curves: Sequence[GroupCurve]) -> Iterator[str]:
    """Yield a note if intervals are of few runs."""
    fewest = min((curve.num_runs for curve in curves if curve.num_runs > 1), default=0)
    if fewest in COVERAGE:
        yield (
            f"an interval of {fewest} runs is too narrow: it holds the true value in about "
            f"{COVERAGE[fewest]}% of cases, not 95%; train 5 seeds or more"
        )


def write(flags: PlotFlags, curves: Sequence[GroupCurve]) -> None:
    """Write the file.

    Raises:
        InputError: it cannot be written.
    """
    try:
        flags.out.parent.mkdir(parents=True, exist_ok=True)
        if flags.out.suffix.lower() == ".csv":
            write_atomically(flags.out, to_csv(curves, flags.x).encode())
        else:
            draw(curves, flags.x, y_label(flags.y), flags.out)
    except OSError as error:
        raise InputError(f"--out: {flags.out} cannot be written: {error.strerror}") from error


def y_label(y: str) -> str:
    """Return the label of the y axis, with the unit."""
    if y == "return":
        return "return (mean of the last 100 episodes)"
    unit = next((metric.unit for metric in METRICS if metric.covers(y)), "")
    return f"{y} ({unit})" if unit else y
