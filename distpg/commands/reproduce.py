"""`reproduce`: train a published table, and report what it reached beside what others report."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from distpg.config.settings import Count
from distpg.config.values import check_value
from distpg.doctor.facts import cores
from distpg.envs.make import find_source
from distpg.errors import prefix_errors
from distpg.many_runs.side_by_side import SideBySide
from distpg.reproduce.comparison import Source
from distpg.reproduce.curves import draw_curves
from distpg.reproduce.report import HOW_TO_READ, Report
from distpg.reproduce.results import Results, add_to_file, check_can_grow, read_results_with
from distpg.reproduce.runs import check_runs, collect, prepare, runs_of
from distpg.reproduce.table import Table, load_table
from distpg.results.figure import import_figure
from distpg.results.statistics import import_rliable
from distpg.run.directory import write_atomically
from distpg.signals import handle_signals, interrupt


@dataclass(frozen=True, kw_only=True)
class ReproduceFlags:
    """Train a published table, each task with several seeds, and report the results."""

    table: tyro.conf.Positional[str] = tyro.MISSING
    """The table: ppo-mujoco, rllib, classic, recurrent, mujoco-tuned, rivals, pong, or a TOML
    file."""
    tasks: tuple[str, ...] = ()
    """Some of its tasks. Default: all."""
    seeds: int | None = None
    """Number of its seeds. Default: all."""
    parallel: int | None = None
    """Runs at a time, each on a core. Default: one per core."""
    folder: Path | None = None
    """Where the runs and the report are. Finished runs that are there are kept, others resumed.
    Default: runs/reproduce/TABLE."""
    against: tuple[str, ...] = ()
    """JSON files with results of other libraries, which ours are judged by. Default: none."""
    save: Path | None = None
    """Add the results to this JSON file."""
    report: bool = False
    """Train nothing; report the runs that are finished."""


def main(flags: ReproduceFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    table = load_table(flags.table).part(flags.tasks, flags.seeds)
    check_value("parallel", flags.parallel, Count | None)
    folder = Path("runs") / "reproduce" / table.name if flags.folder is None else flags.folder
    with prefix_errors("--against"):
        files = flags.against
        others = [Source(read_results_with(table, Path(file)), file) for file in files]
    if flags.save is not None:
        with prefix_errors("--save"):
            check_can_grow(flags.save, table)
    # before hours of training
    import_rliable()
    import_figure()
    command = command_of(flags)
    failures: dict[str, str] = {}
    if flags.report:
        check_runs(table, folder)
    else:
        check_envs(table)
        prepare(table, folder)
        failures = train(table, folder, flags.parallel or cores())
    results = collect(table, folder, command)
    if flags.save is not None and results.tasks:
        add_to_file(flags.save, results)
        print(f"saved: {flags.save}")
    if not results.tasks:
        print(f"no run of {table.name} is finished")
        return 1
    write_report(table, results, others, folder)
    for name, why in failures.items():
        print(f"{name} failed: {why}", file=sys.stderr)
    return 1 if failures else 0


def check_envs(table: Table) -> None:
    """Check that the environment of each task is there.

    Raises:
        InputError: one is not.
    """
    for name in table.tasks:
        with prefix_errors(f"tasks.{name}"):
            find_source(table.config(name), None)


def command_of(flags: ReproduceFlags) -> str:
    """Return the command that trains a table, without what only concerns this machine."""
    words = ["distpg", "reproduce", flags.table]
    words += ["--tasks", *flags.tasks] if flags.tasks else []
    words += ["--seeds", str(flags.seeds)] if flags.seeds is not None else []
    return " ".join(words)


def train(table: Table, folder: Path, parallel: int) -> dict[str, str]:
    """Train what is not finished; return why runs failed, by their names."""

    def say(line: str) -> None:
        print(line, flush=True)

    runs = runs_of(table, folder)
    say(f"{len(runs)} runs, {parallel} at a time, in {folder}")
    try:
        with handle_signals(interrupt):
            return SideBySide(runs, parallel, say).complete()
    except KeyboardInterrupt:
        say("the runs are saved; the same command continues them")
        raise


def write_report(table: Table, results: Results, others: list[Source], folder: Path) -> None:
    """Write report.md and curves.png, and print where they are and the overview."""
    report = Report(table, results, others)
    draw_curves(table, [results, *(source.results for source in others)], folder / "curves.png")
    text = "\n".join([*report.section("curves.png"), HOW_TO_READ])
    write_atomically(folder / "report.md", text.encode())
    print("\n".join(report.overview([*results.tasks])))
    print(f"the report: {folder / 'report.md'}")
