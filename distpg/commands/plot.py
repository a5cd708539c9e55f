"""`plot`: draw the curves of runs, those of several seeds as one with its interval."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from distpg.config.values import did_you_mean, one_of
from distpg.errors import InputError
from distpg.report.metrics import METRICS
from distpg.results.curves import GroupCurve, curve_of, summary, to_csv
from distpg.results.figure import draw, import_figure
from distpg.results.groups import check_setting, find_sources, group_runs, place_unnamed
from distpg.results.runs import RETURN
from distpg.results.series import X
from distpg.run.directory import write_atomically

KINDS = (".png", ".svg", ".csv")


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
    by = None if flags.by is None else check_setting(flags.by)
    if kind != ".csv":
        import_figure()
    curves = curves_of(flags, by)
    write(flags, curves)
    print("\n".join(summary(curves, flags.x)))
    print(f"the curves: {flags.out}")
    return 0


def curves_of(flags: PlotFlags, by: str | None) -> list[GroupCurve]:
    """Read the curves, and tell on standard error what there is to know of them.

    Raises:
        InputError: there are no runs, or none has the metric.
    """
    tag = RETURN if flags.y == "return" else flags.y
    sources, notes = place_unnamed(find_sources(flags.runs))
    groups = group_runs(sources, by)
    notes += [note for group in groups for note in group.notes()]
    found = [(group, curve_of(group, tag, flags.x)) for group in groups]
    notes += [f"{group}: left out, none of its runs has {tag} yet" for group, x in found if not x]
    curves = [curve for _, curve in found if curve is not None]
    if not curves:
        tags = [metric.tag for metric in METRICS]
        raise InputError(f"--y: no run has values of {flags.y!r}{did_you_mean(flags.y, tags)}")
    notes += [note for curve in curves for note in curve.notes]
    for note in notes:
        print(note, file=sys.stderr)
    return curves


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
