"""docs/results.md and its curves, from the data in results/tables.

    python -m benchmarks.tables

`distpg reproduce TABLE --save benchmarks/results/tables/TABLE.json` and
`python -m benchmarks.sb3_reference TABLE` write the data; `python -m benchmarks.imitation TASK`
and `python -m benchmarks.gaits` write those of two more sections.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.gaits_section import gaits_section
from benchmarks.imitation_section import imitation_section
from benchmarks.results import FOLDER, ROOT
from distpg.report.texts import table as markdown_table
from distpg.reproduce.comparison import VERDICTS, Source
from distpg.reproduce.curves import draw_curves
from distpg.reproduce.report import HOW_TO_READ, WORDS, Report
from distpg.reproduce.results import read_results
from distpg.reproduce.table import Table, load_table

HEAD = """\
# Results

Tables trained by `distpg reproduce TABLE`, beside what others report. Where Stable-Baselines3 has
these settings, it is trained too, on the same tasks and machine, with the version of Gymnasium that
it needs; [what still differs](from-stable-baselines3.md#what-differs). This page is generated from
[benchmarks/results/](../benchmarks/results) by `python -m benchmarks.tables`.

"""
LOOKED_AGAIN = """\
Of the published tables some were changed after a look at their results, each where ours were lower:
the unit of actions of InvertedPendulum (ppo-mujoco), the number of seeds of three tasks and the
normalization of all (classic), and what a Beta distribution does without noise (mujoco-tuned).
Their sections say how. So the counts of below may be too low. The rule of the verdicts was changed
on 2026-11-30, after those by another rule had been seen ([changelog](../CHANGELOG.md)).
"""
ORDER = ("ppo-mujoco", "rllib", "classic", "recurrent", "mujoco-tuned", "rivals", "pong")
NOT_JUDGED = ("nothing", *("" for _ in range(len(VERDICTS) + 1)))
"""Cells of a table that is compared with nothing."""
OF_BENCHMARKS: Mapping[str, Sequence[str]] = {
    "less_noise": ("ppo-mujoco",),
    "normalization": ("ppo-mujoco", "classic"),
    "no_velocity": (),
}
"""Tables of benchmarks/, each with the tables whose results judge it."""


def table_named(name: str) -> Table:
    """Return a table of the package, or of benchmarks/."""
    return load_table(str(ROOT / f"benchmarks/{name}.toml") if name in OF_BENCHMARKS else name)


def report_of(name: str, data: Path) -> Report | None:
    """Return the report of a table, or None if it has not been measured."""
    ours = data / f"{name}.json"
    if not ours.exists():
        return None
    others = list[Source]()
    for judge in OF_BENCHMARKS.get(name, (f"{name}-sb3",)):
        if (data / f"{judge}.json").exists():
            results = read_results(data / f"{judge}.json")
            if name in OF_BENCHMARKS:
                results = replace(results, name=judge)
            others.append(Source(results, f"benchmarks/results/tables/{judge}.json"))
    argument = f"benchmarks/{name}.toml" if name in OF_BENCHMARKS else name
    whole = replace(read_results(ours), command=f"distpg reproduce {argument}")
    if name in OF_BENCHMARKS:
        whole = replace(whole, name=name)
    return Report(table_named(name), whole, others)


def reports(data: Path = FOLDER) -> Mapping[str, Report | None]:
    """Return the reports by the names of the tables, in the order of the page."""
    return {name: report_of(name, data / "tables") for name in (*ORDER, *OF_BENCHMARKS)}


def page(data: Path = FOLDER) -> Iterator[str]:
    """Yield the lines of docs/results.md."""
    yield HEAD
    found = reports(data)
    groups = {"of papers and other libraries": ORDER, "of settings": [*OF_BENCHMARKS]}
    for what, names in groups.items():
        yield from summary(f"tables {what}", [x for name in names if (x := found[name])])
    yield LOOKED_AGAIN
    missing = [name for name in ORDER if found[name] is None]
    if missing:
        yield from (f"Not measured yet: {', '.join(missing)}.", "")
    yield from ("## How to read the tables", "", HOW_TO_READ)
    for name, report in found.items():
        if report is not None:
            yield from report.section(f"results/{name}.png")
    yield from gaits_section(data)
    yield from imitation_section(data)


def summary(title: str, found: Sequence[Report]) -> Iterator[str]:
    """Yield how many tasks of each table are measured, and how they are judged."""
    head = (title, "tasks measured", "judged by", "measure", *VERDICTS)
    rows = list[Sequence[str | int]]()
    for report in found:
        name = report.table.name
        tasks = f"{len(report.measured())} of {len(report.table.tasks)}"
        verdicts = [
            (tally.who, WORDS[tally.measure], *tally.counts.values()) for tally in report.tallies()
        ]
        rows += ((f"[{name}](#{name})", tasks, *own) for own in verdicts or [NOT_JUDGED])
    if rows:
        yield from (*markdown_table(head, rows), "")


def text(data: Path = FOLDER) -> str:
    """Return docs/results.md."""
    return "\n".join(page(data)).rstrip() + "\n"


def main() -> None:
    """Write the page and draw the curves."""
    docs = ROOT / "docs"
    for name, report in reports().items():
        if report is not None:
            libraries = [report.ours, *(source.results for source in report.others)]
            draw_curves(report.table, libraries, docs / "results" / f"{name}.png")
    (docs / "results.md").write_text(text())


if __name__ == "__main__":
    main()
