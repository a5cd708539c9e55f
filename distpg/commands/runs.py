"""`runs`: list the runs of a folder, with how far each is and what it reached."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from distpg.errors import InputError
from distpg.results.listing import lines, to_json
from distpg.results.runs import RunFacts, find_runs, read_run


@dataclass(frozen=True, kw_only=True)
class RunsFlags:
    """List the runs of a folder, with state, steps and returns."""

    folder: tyro.conf.Positional[Path] = Path("runs")
    """The folder; runs in folders below it are listed, too."""
    json: bool = False
    """Print one JSON array."""


def main(flags: RunsFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    runs: list[RunFacts] = []
    for path in find_runs(flags.folder):
        try:
            runs.append(read_run(path))
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
    runs.sort(key=lambda run: run.written_at)
    if flags.json:
        print(json.dumps([to_json(run) for run in runs]))
    elif not runs:
        print(f"no runs in {flags.folder}")
    else:
        print("\n".join(lines(runs)))
    return 0
