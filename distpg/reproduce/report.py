"""The report of a table in Markdown: every seed, intervals, and what others report."""

from collections.abc import Iterator, Sequence
from typing import Any

import tomli_w

from distpg.progress import WINDOW
from distpg.report.numbers import format_interval, format_return, format_returns
from distpg.report.texts import table as markdown_table
from distpg.reproduce.comparison import Comparison, Judgement, Scores, Tally
from distpg.reproduce.measures import GREEDY_EPISODES, WORDS, Measured
from distpg.reproduce.results import TaskResults
from distpg.reproduce.table import Measure, Reference, Table, Task
from distpg.results.statistics import MeanEstimate

HOW_TO_READ = f"""\
Each value is a mean over n seeds, with its 95% interval by Student's t distribution. The measures
of a run:

- **{WORDS["last_100_training_episodes"]}**: mean return of the last {WINDOW} episodes of training,
  or of all if there are fewer, whose actions are drawn from the policy.
- **{WORDS["final_greedy"]}**: mean return of {GREEDY_EPISODES} episodes of the final policy without
  noise. Published values may be of more episodes.
- **{WORDS["best_evaluation"]}**: the highest mean return of the evaluations during training. As a
  maximum it is biased upwards.

The difference is ours minus theirs, with its 95% interval by Welch's t test. The verdict is above
or below where that interval leaves out 0, else undecided: intervals of three seeds are wide, so
this does not mean that both are the same, but where both are at the limit of their task. Nothing is
corrected for the number of comparisons: about one of twenty intervals leaves out 0 by chance. A
published value of one seed has no interval, and no verdict by it. A criterion, which nobody
measured, has none either: the verdict is above if all of our seeds reach it, else below.

A score is a return on the `scale` of its task, two returns that count as 0 and 1. The interquartile
mean of scores is over the tasks that ours and the other library have, each with the same weight and
all of its seeds (Agarwal et al. 2021). Its 95% interval is by the bootstrap within each task, which
is too narrow for few seeds.

Curves show the mean return of the last {WINDOW} episodes, mean over seeds, and its 95% bootstrap
interval, which is too narrow for few seeds, too. distpg counts an episode at the end of its
iteration. A chart's title has the number of seeds of each library, in the order of the legend.
"""


class Report(Comparison):
    """A comparison written in Markdown."""

    def section(self, image: str) -> Iterator[str]:
        """Yield the lines of the report.

        Args:
            image: Path of the curves, as a link.

        Raises:
            InputError: SciPy is not installed.
        """
        yield from (f"## {self.table.name}", "", f"{self.table.title}.", "")
        if self.table.about:
            yield from (self.table.about.strip(), "")
        yield from (*self.how(), "")
        measured = self.measured()
        if measured:
            yield from (*self.overview(measured), "")
            counts = [*map(tally_line, self.tallies()), *map(scores_line, self.scores())]
            yield from (*counts, "") if counts else ()
            yield from self.order()
            yield from (f"![Learning curves]({image})", "")
        details = [
            *(line for name in measured for line in (*self.task_section(name), "")),
            *self.sources(),
            *settings(self.table),
        ]
        yield from folded("Each seed, sources and settings", details)

    def how(self) -> Iterator[str]:
        """Yield how, when and on what it was measured."""
        seeds = ", ".join(map(str, self.table.seeds))
        own = [
            f"; of {name}: {', '.join(map(str, task.seeds))}"
            for name, task in self.table.tasks.items()
            if task.seeds
        ]
        tasks = ", ".join(self.table.tasks)
        yield f"- `{self.ours.command}`; tasks: {tasks}; seeds: {seeds}{''.join(own)}"
        for results in self.libraries():
            runs = [run for task in results.tasks.values() for run in task.runs.values()]
            if runs:
                yield f"- {results.name}, {measured_on(results.name, runs)}"
        alone = [name for name in self.measured() if len(self.ours.tasks[name].runs) == 1]
        if alone:
            yield f"- of one seed, so without interval and verdict: {', '.join(alone)}"
        missing = [name for name in self.table.tasks if name not in self.ours.tasks]
        if missing:
            yield f"- not measured yet: {', '.join(missing)}"

    def overview(self, names: Sequence[str]) -> list[str]:
        """Return the lines of the table of all tasks: ours, and the verdicts, if there are any.

        A task has its first measure, the final policy, and what it is judged by.
        """
        rows: list[tuple[str, ...]] = []
        judgements = self.judgements(names)
        for name in names:
            for measure in self.table.measures():
                task = self.ours.tasks[name]
                found = task.mean(measure)
                own = [x for x in judgements if (x.task, x.measure) == (name, measure)]
                if found is None or not (own or measure != "best_evaluation"):
                    continue
                judges = "; ".join(f"{x.reference.name}: {text_of(x.reference)}" for x in own)
                differences = "; ".join(map(difference_text, own))
                verdicts = ", ".join(x.verdict() for x in own)
                mean = f"{with_interval(*found)}, n = {len(task.values(measure))}"
                rows.append((name, WORDS[measure], mean, judges, differences, verdicts))
        head = ("task", "measure", "mean (95% interval)", "judged by", "difference", "verdict")
        columns = len(head) if judgements else 3
        return markdown_table(head[:columns], [row[:columns] for row in rows])

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
                found.setdefault(x.name, {})[way] = x.estimate
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
        columns = [seed_texts(task, measure) for measure in measures]
        rows = [
            (f"seed {seed}", f"{run.env_steps:,}", *(texts.get(seed, "") for texts in columns))
            for seed, run in task.runs.items()
        ]
        cells = [with_interval(*mean) for mean in means.values()]
        rows.append(("**mean** (95% interval)", "", *cells))
        references = [x for measure in measures for x in self.references(name, measure)]
        judgements = self.judgements([name])
        for who in dict.fromkeys(reference.name for reference in references):
            own = [x for x in references if x.name == who]
            cells = [" ".join(text_of(x) for x in own if x.measure == y) for y in measures]
            rows.append((who, "", *cells))
            judged = [x for x in judgements if x.reference.name == who]
            if judged:
                cells = [" ".join(x.verdict() for x in judged if x.measure == y) for y in measures]
                rows.append((f"verdict by {who}", "", *cells))
        for source in self.others:
            if name in source.results.tasks:
                theirs = source.results.tasks[name]
                cells = [", ".join(seed_texts(theirs, x).values()) for x in measures]
                rows.append((f"seeds of {source.results.name}", "", *cells))
        yield from (f"**{name}**", "")
        yield from markdown_table(("", "env steps", *(WORDS[x] for x in measures)), rows)

    def sources(self) -> Iterator[str]:
        """Yield where the references are from."""
        tasks: dict[tuple[str, str, str], list[str]] = {}
        for name in self.table.tasks:
            for measure in WORDS:
                for x in self.references(name, measure):
                    tasks.setdefault((x.name, WORDS[measure], x.source), []).append(name)
        rows = [
            (who, measure, "all" if len(names) == len(self.table.tasks) else ", ".join(names), x)
            for (who, measure, x), names in tasks.items()
        ]
        if rows:
            yield from markdown_table(("reference", "measure", "tasks", "source"), rows)
            yield ""


def settings(table: Table) -> Iterator[str]:
    """Yield a table as TOML, but for its references: settings that it does not have are defaults.

    The text is that of a file for `load_table`.
    """
    values = {
        "title": table.title,
        "seeds": list(table.seeds),
        "settings": dict(table.settings),
        "tasks": {name: written(task) for name, task in table.tasks.items()},
    }
    yield from ("Settings; the others are defaults:", "", "```toml")
    yield from (*tomli_w.dumps(values).splitlines(), "```", "")


def written(task: Task) -> dict[str, Any]:
    """Return a task as the values of its TOML, but for its references."""
    values: dict[str, Any] = {"env_id": task.env_id, "steps": task.steps}
    lists = {"seeds": task.seeds, "scale": task.scale}
    values |= {name: list(numbers) for name, numbers in lists.items() if numbers}
    return {**values, "settings": dict(task.settings)} if task.settings else values


def folded(summary: str, lines: Sequence[str]) -> Iterator[str]:
    """Yield lines of Markdown that a page shows once their summary is opened."""
    yield from ('<details markdown="1">', f"<summary>{summary}</summary>", "")
    yield from (*lines, "</details>", "")


def tally_line(tally: Tally) -> str:
    """Write how many tasks have each verdict."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in tally.counts.items())
    return f"- judged by {tally.who}, {WORDS[tally.measure]}: {counts}"


def scores_line(scores: Scores) -> str:
    """Write an interquartile mean of scores."""
    mean, interval = scores.mean
    ends = "" if interval is None else " ({:.2f} to {:.2f})".format(*interval)
    tasks = f"{scores.num_tasks} task{'s' * (scores.num_tasks > 1)}"
    runs = f"{scores.num_runs} run{'s' * (scores.num_runs > 1)}"
    return (
        f"- {scores.library}, {WORDS[scores.measure]}: interquartile mean of scores "
        f"{mean:.2f}{ends}, {tasks}, {runs}"
    )


def difference_text(judgement: Judgement) -> str:
    """Write a difference with its interval, or how many seeds reach a criterion."""
    difference = judgement.difference()
    if difference is None:
        return f"{judgement.passed()} of {len(judgement.values)} seeds reach it"
    return with_interval(*difference)


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


def seed_texts(task: TaskResults, measure: Measure) -> dict[int, str]:
    """Write what each seed reached by a measure, all with as many digits."""
    values = task.values(measure)
    return dict(zip(values, format_returns(*values.values()), strict=True))


def measured_on(library: str, runs: Sequence[Measured]) -> str:
    """Say when runs of a library were made, by which other versions, on what."""
    dates = sorted({run.date for run in runs})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    versions = dict.fromkeys(
        ", ".join(
            f"{name} {number}"
            for name, number in run.versions.items()
            if f"{name} {number}".casefold() != library.casefold()
        )
        for run in runs
    )
    machines = dict.fromkeys(
        f"{run.machine['cpu']}, {run.machine['cores']} cores, {run.machine['system']}"
        for run in runs
    )
    minutes = sum(run.train_s for run in runs) / 60
    return (
        f"{when}: {'; or '.join(versions)}; {'; or '.join(machines)}; {minutes:,.0f} minutes of "
        "training, the sum over runs that shared the machine"
    )
