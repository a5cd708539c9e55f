"""The report of a table in Markdown: every seed, intervals, and what others report."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tomli_w

from distpg.progress import WINDOW
from distpg.report.numbers import format_interval, format_return
from distpg.report.texts import table as markdown_table
from distpg.reproduce.measures import GREEDY_EPISODES, Measured
from distpg.reproduce.results import Results
from distpg.reproduce.table import Measure, Reference, Table
from distpg.results.statistics import MeanEstimate, interquartile_mean

WORDS: Mapping[Measure, str] = {
    "last_100_training_episodes": f"last {WINDOW} training episodes",
    "final_greedy": f"final policy, {GREEDY_EPISODES} greedy episodes",
    "best_evaluation": "best evaluation",
}
VERDICTS = ("above", "within", "below")


@dataclass(frozen=True)
class Source:
    """Results of another library on the tasks of a table, and where they are kept."""

    results: Results
    path: str


class Judgement(NamedTuple):
    """Where the mean of a task is, seen from a reference."""

    task: str
    measure: Measure
    reference: Reference
    verdict: str


class Tally(NamedTuple):
    """How many tasks are above, within and below a reference, by a measure."""

    who: str
    measure: Measure
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Report:
    """A table with what was measured, and what it is compared with."""

    table: Table
    ours: Results
    others: Sequence[Source] = ()

    def references(self, task: str, measure: Measure) -> list[Reference]:
        """List what a task's results by a measure are compared with; first what judges them."""
        published = [x for x in self.table.tasks[task].references if x.measure == measure]
        measured = [
            reference
            for source in self.others
            for reference in source.results.references(task, measure, source.path)
        ]
        return sorted([*measured, *published], key=lambda reference: not reference.judged)

    def section(self, image: str) -> Iterator[str]:
        """Yield the lines of the report.

        Args:
            image: Path of the curves, as a link.

        Raises:
            InputError: rliable is not installed.
        """
        yield from (f"## {self.table.name}", "", f"{self.table.title}.", "")
        if self.table.about:
            yield from (" ".join(self.table.about.split()), "")
        yield from (*self.how(), "")
        measured = self.measured()
        if measured:
            yield from (*self.overview(measured), "")
            counts = [*map(tally_line, self.tallies()), *self.scores(measured)]
            yield from (*counts, "") if counts else ()
            yield from self.order()
            yield from (f"![Learning curves]({image})", "")
            yield f"Curves: mean return of the last {WINDOW} episodes, mean over seeds, and its 95%"
            yield from ("bootstrap interval at each point.", "")
        for name in measured:
            yield from (*self.task_section(name), "")
        yield from (*self.settings(), "")
        yield from self.sources()

    def how(self) -> Iterator[str]:
        """Yield how, when and on what it was measured."""
        seeds = ", ".join(map(str, self.table.seeds))
        yield f"- `{self.ours.command}`; tasks: {', '.join(self.table.tasks)}; seeds: {seeds}"
        for results in self.libraries():
            runs = [run for task in results.tasks.values() for run in task.runs.values()]
            if runs:
                yield f"- {results.name}, {measured_on(runs)}"
        missing = [name for name in self.table.tasks if name not in self.ours.tasks]
        if missing:
            yield f"- not measured yet: {', '.join(missing)}"

    def libraries(self) -> list[Results]:
        """Return our results, then those of the others."""
        return [self.ours, *(source.results for source in self.others)]

    def measured(self) -> list[str]:
        """List the tasks that we have results of, in the order of the table."""
        return [name for name in self.table.tasks if name in self.ours.tasks]

    def judgements(self, names: Sequence[str]) -> list[Judgement]:
        """List where the mean of each task is, by each measure and reference that judges it."""
        found: list[Judgement] = []
        for name in names:
            for measure in self.table.measures():
                values = list(self.ours.tasks[name].values(measure).values())
                for reference in self.references(name, measure):
                    if reference.judged and values:
                        verdict = reference.verdict(statistics.fmean(values))
                        found.append(Judgement(name, measure, reference, verdict))
        return found

    def tallies(self) -> Iterator[Tally]:
        """Yield how many tasks are above, within and below what they are judged by."""
        found = self.judgements(self.measured())
        for measure in self.table.measures():
            own = [x for x in found if x.measure == measure]
            for who in dict.fromkeys(x.reference.name for x in own):
                verdicts = [x.verdict for x in own if x.reference.name == who]
                yield Tally(who, measure, {x: verdicts.count(x) for x in VERDICTS})

    def overview(self, names: Sequence[str]) -> list[str]:
        """Return the lines of the table of all tasks: ours, and the verdicts."""
        rows: list[tuple[str, ...]] = []
        judgements = self.judgements(names)
        for name in names:
            for measure in self.table.measures():
                found = self.ours.tasks[name].mean(measure)
                own = [x for x in judgements if (x.task, x.measure) == (name, measure)]
                if found is None or not (own or measure == self.table.measures()[0]):
                    continue
                judges = "; ".join(f"{x.reference.name}: {text_of(x.reference)}" for x in own)
                verdicts = ", ".join(x.verdict for x in own)
                rows.append((name, WORDS[measure], with_interval(*found), judges, verdicts))
        head = ("task", "measure", "mean (95% interval)", "judged by", "verdict")
        return markdown_table(head, rows)

    def scores(self, names: Sequence[str]) -> Iterator[str]:
        """Yield the interquartile means over tasks and seeds, if all tasks have a scale."""
        if any(task.scale is None for task in self.table.tasks.values()):
            return
        for results in self.libraries():
            own = [name for name in names if name in results.tasks]
            for measure in self.table.measures():
                matrix = self.score_matrix(results, own, measure)
                if matrix.size:
                    found = interquartile_mean(matrix)
                    seeds, tasks = matrix.shape
                    yield (
                        f"- {results.name}, {WORDS[measure]}: interquartile mean of scores "
                        f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f}; stratified "
                        f"bootstrap), {tasks} task{'s' * (tasks > 1)} x {seeds} seeds"
                    )

    def score_matrix(self, results: Results, names: Sequence[str], measure: Measure) -> np.ndarray:
        """Return scores [R, K] of the R seeds that each of K tasks has."""
        known = [(name, results.tasks[name].values(measure)) for name in names]
        seeds = sorted(set[int].intersection(*(set(found) for _, found in known))) if known else []
        scores = [
            [self.table.tasks[name].score(found[seed]) for name, found in known] for seed in seeds
        ]
        return np.array(scores)

    def order(self) -> Iterator[str]:
        """Yield what environments are trained on in several ways, the best way first."""
        measure = self.table.measures()[0]
        groups = self.table.groups()
        rows = [row for env_id in groups for row in self.rankings(env_id, groups[env_id], measure)]
        if rows:
            head = ("environment", "", f"the best first, by {WORDS[measure]}")
            yield from (*markdown_table(head, rows), "")

    def rankings(
        self, env_id: str, names: Sequence[str], measure: Measure
    ) -> Iterator[tuple[str, str, str]]:
        """Yield our order of the tasks of an environment, and that of each reference for them."""
        found: dict[str, dict[str, MeanEstimate]] = {self.ours.name: {}}
        for name in names:
            way = self.table.way(name)
            own = self.ours.tasks[name].mean(measure) if name in self.ours.tasks else None
            if own is not None:
                found[self.ours.name][way] = own
            for x in self.references(name, measure):
                ends = None if x.interval is None else (x.interval[0], x.interval[1])
                found.setdefault(x.name, {})[way] = MeanEstimate(x.value, ends)
        for who, means in found.items():
            if len(means) > 1:
                ways = sorted(means, key=lambda way: -means[way].mean)
                yield env_id, who, "; ".join(f"{x} {with_interval(*means[x])}" for x in ways)

    def task_section(self, name: str) -> Iterator[str]:
        """Yield a task's seeds, their mean, and each reference by the same measure."""
        task = self.ours.tasks[name]
        means: dict[Measure, MeanEstimate] = {}
        for measure in self.table.measures():
            found = task.mean(measure)
            if found is not None:
                means[measure] = found
        measures = list(means)
        yield from (f"### {name}", "")
        head = ("", "env steps", *(WORDS[measure] for measure in measures))
        rows = [seed_row(run, measures) for run in task.runs.values()]
        texts = [with_interval(*mean) for mean in means.values()]
        rows.append(("**mean** (95% interval)", "", *texts))
        references = [x for measure in measures for x in self.references(name, measure)]
        judgements = self.judgements([name])
        for who in dict.fromkeys(reference.name for reference in references):
            own = [x for x in references if x.name == who]
            cells = [" ".join(text_of(x) for x in own if x.measure == y) for y in measures]
            rows.append((who, "", *cells))
            judged = [x for x in judgements if x.reference.name == who]
            if judged:
                cells = [" ".join(x.verdict for x in judged if x.measure == y) for y in measures]
                rows.append((f"verdict by {who}", "", *cells))
        yield from markdown_table(head, rows)

    def settings(self) -> Iterator[str]:
        """Yield the settings as TOML: common ones, then each task's own."""
        yield from ("Settings of all tasks; the others are defaults:", "", "```toml")
        yield from tomli_w.dumps(dict(self.table.settings)).splitlines()
        for name, task in self.table.tasks.items():
            own: dict[str, Any] = {"env_id": task.env_id, "total_steps": task.steps}
            yield from ("", f"# {name}")
            yield from tomli_w.dumps({**own, **task.settings}).splitlines()
        yield "```"

    def sources(self) -> Iterator[str]:
        """Yield where the references are from."""
        found = [
            reference
            for name in self.table.tasks
            for measure in WORDS
            for reference in self.references(name, measure)
        ]
        rows = dict.fromkeys((x.name, WORDS[x.measure], x.source) for x in found)
        if rows:
            yield from markdown_table(("reference", "measure", "source"), rows)
            yield ""


def tally_line(tally: Tally) -> str:
    """Write how many tasks are above, within and below."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in tally.counts.items())
    return f"- judged by {tally.who}, {WORDS[tally.measure]}: {counts}"


def with_interval(value: float, interval: Sequence[float] | None) -> str:
    """Write a value with its interval, if it has one."""
    if interval is None:
        return format_return(value)
    low, high = interval
    center, ends = format_interval(value, low, high)
    return f"{center} ({ends})"


def text_of(reference: Reference) -> str:
    """Write a reference: its value, interval and number of seeds."""
    seeds = "" if reference.n is None else f", n = {reference.n}"
    return f"{with_interval(reference.value, reference.interval)}{seeds}"


def seed_row(run: Measured, measures: Iterable[Measure]) -> tuple[str, ...]:
    """Return the row of a seed."""
    values = [run.measures.get(measure) for measure in measures]
    cells = ["" if value is None else format_return(value) for value in values]
    return (f"seed {run.seed}", f"{run.env_steps:,}", *cells)


def measured_on(runs: Sequence[Measured]) -> str:
    """Say when runs were made, by which versions, on what."""
    dates = sorted({run.date for run in runs})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    versions = dict.fromkeys(
        ", ".join(f"{name} {number}" for name, number in run.versions.items()) for run in runs
    )
    machines = dict.fromkeys(
        f"{run.machine['cpu']}, {run.machine['cores']} cores, {run.machine['system']}"
        for run in runs
    )
    hours = sum(run.train_s for run in runs) / 3600
    return (
        f"{when}: {'; or '.join(versions)}; {'; or '.join(machines)}; {hours:.1f} hours of "
        "training in all runs"
    )
