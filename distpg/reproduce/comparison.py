"""A table's results beside those of others: references, differences, verdicts and scores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from distpg.reproduce.results import Results
from distpg.reproduce.table import Measure, Reference, Table
from distpg.results.statistics import (
    MeanEstimate,
    difference_of_means,
    interquartile_mean,
)

VERDICTS = ("above", "undecided", "below")


@dataclass(frozen=True)
class Source:
    """Results of another library on the tasks of a table, and where they are kept."""

    results: Results
    path: str


class Judgement(NamedTuple):
    """Where the seeds of a task are, seen from a reference."""

    task: str
    measure: Measure
    reference: Reference
    values: Sequence[float]
    """Of our seeds: at least two, or one where the reference is a criterion."""

    def difference(self) -> tuple[float, tuple[float, float]] | None:
        """Return how far our mean is above the reference, with its 95% interval.

        None if the reference is a criterion.
        """
        if self.reference.n is None:
            return None
        found = difference_of_means(self.values, self.reference.estimate, self.reference.n)
        assert found.interval is not None, f"{self.task} has one seed"
        return found.mean, found.interval

    def passed(self) -> int:
        """Return how many of our seeds have at least the reference's value."""
        return sum(value >= self.reference.value for value in self.values)

    def verdict(self) -> str:
        """Return above or below if the difference's interval leaves out 0, else undecided.

        Above a criterion are all seeds, or it is below.
        """
        difference = self.difference()
        if difference is None:
            return "above" if self.passed() == len(self.values) else "below"
        low, high = difference[1]
        return "above" if low > 0 else "below" if high < 0 else "undecided"


class Tally(NamedTuple):
    """How many tasks have each verdict of a reference, by a measure."""

    who: str
    measure: Measure
    counts: Mapping[str, int]
    """By verdict."""


class Scores(NamedTuple):
    """The interquartile mean of a library's scores."""

    library: str
    measure: Measure
    mean: MeanEstimate
    num_tasks: int
    num_runs: int


@dataclass(frozen=True)
class Comparison:
    """A table with what was measured, and what it is compared with."""

    table: Table
    ours: Results
    others: Sequence[Source] = ()

    def libraries(self) -> list[Results]:
        """Return our results, then those of the others."""
        return [self.ours, *(source.results for source in self.others)]

    def measured(self) -> list[str]:
        """List the tasks that we have results of, in the order of the table."""
        return [name for name in self.table.tasks if name in self.ours.tasks]

    def references(self, task: str, measure: Measure) -> list[Reference]:
        """List what a task's results by a measure are compared with; first what judges them."""
        published = [x for x in self.table.tasks[task].references if x.measure == measure]
        measured = [
            reference
            for source in self.others
            for reference in source.results.references(task, measure, source.path)
        ]
        return sorted([*measured, *published], key=lambda reference: not reference.judged)

    def judgements(self, names: Sequence[str]) -> list[Judgement]:
        """List how each task is judged, by each measure and reference that judges it.

        A task of one seed is judged by criteria alone: its mean has no interval.
        """
        found: list[Judgement] = []
        for name in names:
            for measure in self.table.measures():
                values = list(self.ours.tasks[name].values(measure).values())
                for reference in self.references(name, measure):
                    enough = 1 if reference.n is None else 2
                    if reference.judged and len(values) >= enough:
                        found.append(Judgement(name, measure, reference, values))
        return found

    def tallies(self) -> Iterator[Tally]:
        """Yield how many tasks have each verdict of what they are judged by."""
        found = self.judgements(self.measured())
        for measure in self.table.measures():
            of_measure = [x for x in found if x.measure == measure]
            for who in dict.fromkeys(x.reference.name for x in of_measure):
                verdicts = [x.verdict() for x in of_measure if x.reference.name == who]
                yield Tally(who, measure, {x: verdicts.count(x) for x in VERDICTS})

    def scores(self) -> Iterator[Scores]:
        """Yield interquartile means of ours, and of each other on the tasks that both have.

        Nothing if a task has no scale. A library that has no task which we have is left out.

        Raises:
            InputError: SciPy is not installed.
        """
        if any(task.scale is None for task in self.table.tasks.values()):
            return
        measured = self.measured()
        others = [source.results for source in self.others]
        pairs = [[self.ours, x] for x in others if any(name in x.tasks for name in measured)]
        for libraries in pairs or [[self.ours]]:
            names = [x for x in measured if all(x in library.tasks for library in libraries)]
            for library in libraries:
                for measure in self.table.measures():
                    scores = self.scores_of(library, names, measure)
                    if scores:
                        mean = interquartile_mean(scores)
                        num_runs = sum(map(len, scores))
                        yield Scores(library.name, measure, mean, len(scores), num_runs)

    def scores_of(
        self, results: Results, names: Sequence[str], measure: Measure
    ) -> list[list[float]]:
        """Return the scores of each task's seeds; a task without the measure is left out."""
        found = {name: results.tasks[name].values(measure).values() for name in names}
        tasks = self.table.tasks
        return [[tasks[name].score(x) for x in own] for name, own in found.items() if own]
