"""What a study found: a table of its trials, and its best settings as a recipe."""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from distpg.config.files import commented, spell
from distpg.report.interval import mean_interval
from distpg.report.numbers import format_return, format_returns
from distpg.run.directory import write_atomically
from distpg.tuning.space import Space
from distpg.tuning.study import Study, TrialRecord

RECIPE = "best.toml"
WORDS = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "under way"}
MOST_ROWS = 10
"""Trials in the table."""


def spelled(searched: Mapping[str, Any]) -> str:
    """Return the values of settings in a line."""
    return ", ".join(f"{name} = {written(value)}" for name, value in searched.items())


def written(value: Any) -> str:
    """Spell a value for people: of a number four digits."""
    return f"{value:.4g}" if isinstance(value, float) else spell(value)


def counts(records: Sequence[TrialRecord]) -> str:
    """Say how many trials ended in which way."""
    found = Counter(WORDS[record.state] for record in records)
    return ", ".join(f"{found[word]} {word}" for word in WORDS.values() if found[word])


def trial_table(records: Sequence[TrialRecord]) -> Iterator[str]:
    """Yield the lines of a table: the best trials that are finished, then others."""
    order = {state: place for place, state in enumerate(("COMPLETE", "PRUNED", "RUNNING", "FAIL"))}
    ranked = sorted(records, key=lambda x: (order[x.state], -(x.value or 0.0), x.number))
    yield f"{'trial':>5}  {'state':9} {'return':>9}  settings"
    for record in ranked[:MOST_ROWS]:
        mean = "-" if record.value is None else format_return(record.value)
        yield (f"{record.number:>5}  {WORDS[record.state]:9} {mean:>9}  {spelled(record.searched)}")
    if len(records) > MOST_ROWS:
        yield f"and {len(records) - MOST_ROWS} more; the return of a pruned one is of its last rung"


def write_recipe(space: Space, study: Study, folder: Path) -> None:
    """Write the settings of the best trial as a file for `distpg train --config`."""
    best = study.best()
    assert best is not None, "a trial is finished"
    text = "".join(recipe(space, best, study.records()))
    write_atomically(folder / RECIPE, text.encode())


def recipe(space: Space, best: TrialRecord, records: Sequence[TrialRecord]) -> Iterator[str]:
    """Yield the TOML of the best trial's settings, with the study's figures as comments."""
    returns = list(best.returns.values())
    mean, *each = format_returns(best.value or 0.0, *returns)
    yield f"# Trial {best.number} of {space.name}, the best of {len(records)}: {counts(records)}.\n"
    yield f"# {space.objective.replace('_', ' ')}: mean return {mean}"
    half = mean_interval(returns)
    if half is not None:
        low, high = format_returns((best.value or 0.0) - half, (best.value or 0.0) + half)
        yield f", 95% interval of the mean {low} to {high}"
    by_seed = [f"seed {seed}: {x}" for seed, x in zip(best.returns, each, strict=True)]
    yield f".\n# {', '.join(by_seed)}.\n"
    yield "# It was chosen by these figures, so other seeds are likely to reach less.\n"
    values = {**space.settings, **best.searched}
    values = {name: "none" if value is None else value for name, value in values.items()}

    def comment(name: str) -> str:
        return f"searched: {space.dimensions[name]}" if name in space.dimensions else ""

    # tables are last in what is read
    yield from commented(tomllib.loads(tomli_w.dumps(values)), comment)
