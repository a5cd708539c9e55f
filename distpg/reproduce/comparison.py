"""A table's results beside those of others: references, differences, verdicts and scores."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from distpg.reproduce.results import Results
from distpg.reproduce.table import Measure, Reference, Table
from distpg.results.statistics import (
    MeanEstimate,
    difference_of_means,
    interquartile_mean,
)

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
    difference: MeanEstimate | None
    """Of our mean from the reference's; None if that is a criterion, which nobody measured."""

    def sign(self) -> int:
        """Return 1 or -1 if the 95% interval of the difference is above or below 0, else 0."""
        if self.difference is None or self.difference.interval is None:
            return 0
        low, high = self.difference.interval
        return (low > 0) - (high < 0)


class Tally(NamedTuple):
    """How many tasks are above, within and below a reference, by a measure."""

    who: str
    measure: Measure
    counts: Mapping[str, int]
    """By verdict."""
    higher: int
    """Tasks whose difference has an interval above 0."""
    lower: int
    """Those whose difference has one below 0."""


class Scores(NamedTuple):
    """The interquartile mean of a library's scores."""

    library: str
    measure: Measure
    mean: MeanEstimate
    num_tasks: int
    num_seeds: int


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
        """List where the mean of each task is, by each measure and reference that judges it."""
        found: list[Judgement] = []
        for name in names:
            for measure in self.table.measures():
                values = list(self.ours.tasks[name].values(measure).values())
                for reference in self.references(name, measure):
                    if reference.judged and values:
                        verdict = reference.verdict(statistics.fmean(values))
                        difference = difference_from(values, reference)
                        found.append(Judgement(name, measure, reference, verdict, difference))
        return found

    def tallies(self) -> Iterator[Tally]:
        """Yield how many tasks are above, within and below what they are judged by."""
        found = self.judgements(self.measured())
        for measure in self.table.measures():
            of_measure = [x for x in found if x.measure == measure]
            for who in dict.fromkeys(x.reference.name for x in of_measure):
                own = [x for x in of_measure if x.reference.name == who]
                verdicts, signs = [x.verdict for x in own], [x.sign() for x in own]
                counts = {x: verdicts.count(x) for x in VERDICTS}
                yield Tally(who, measure, counts, higher=signs.count(1), lower=signs.count(-1))

    def scores(self) -> Iterator[Scores]:
        """Yield interquartile means over the tasks of all libraries and the seeds of all tasks.

        Nothing if a task has no scale. A library that has no task which we have is left out.

        Raises:
            InputError: rliable is not installed.
        """
        if any(task.scale is None for task in self.table.tasks.values()):
            return
        measured = self.measured()
        libraries = [x for x in self.libraries() if any(name in x.tasks for name in measured)]
        names = [x for x in measured if all(x in library.tasks for library in libraries)]
        for library in libraries:
            for measure in self.table.measures():
                matrix = self.score_matrix(library, names, measure)
                if matrix.size:
                    mean = interquartile_mean(matrix)
                    yield Scores(library.name, measure, mean, len(names), len(matrix))

    def score_matrix(self, results: Results, names: Sequence[str], measure: Measure) -> np.ndarray:
        """Return scores [R, K] of the R seeds that each of K tasks has."""
        known = [(name, results.tasks[name].values(measure)) for name in names]
        seeds = sorted(set[int].intersection(*(set(found) for _, found in known))) if known else []
        scores = [
            [self.table.tasks[name].score(found[seed]) for name, found in known] for seed in seeds
        ]
        return np.array(scores)


def difference_from(values: Sequence[float], reference: Reference) -> MeanEstimate | None:
    """Return how far the mean of our seeds is from a reference; None if that is a criterion."""
    if reference.n is None:
        return None
    ends = reference.interval
    other = MeanEstimate(reference.value, None if ends is None else (ends[0], ends[1]))
    return difference_of_means(values, other, reference.n)
