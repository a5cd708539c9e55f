"""`compare`: two runs side by side."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from distpg.results.comparison import side_by_side
from distpg.results.runs import read_run


@dataclass(frozen=True, kw_only=True)
class CompareFlags:
    """Compare two runs: the settings and versions that differ, and what each reached."""

    a: tyro.conf.Positional[Path] = tyro.MISSING
    """The directory of the first run."""
    b: tyro.conf.Positional[Path] = tyro.MISSING
    """The directory of the second run."""


def main(flags: CompareFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    print("\n".join(side_by_side(read_run(flags.a), read_run(flags.b))))
    print("intervals: 95%, of the mean return of the last 100 episodes, and of an evaluation")
    return 0
