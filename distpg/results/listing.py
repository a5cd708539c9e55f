"""The table of runs, and the same as JSON values."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from distpg.report.numbers import format_return
from distpg.results.columns import columns
from distpg.results.runs import RunFacts

HEAD = ("run", "environment", "algorithm", "steps", "return", "best eval", "age", "state")
LONGEST = 60
"""Characters of a reason."""
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def lines(runs: Sequence[RunFacts]) -> Iterator[str]:
    """Yield the lines of the table."""
    now = time.time()
    rows = [row_of(run, now) for run in runs]
    yield from columns(HEAD, rows, right=("steps", "return", "best eval", "age"))


def row_of(run: RunFacts, now: float) -> tuple[str, ...]:
    """Return the cells of a run at a Unix time."""
    return (
        str(run.run.given),
        run.env_id,
        run.algo,
        f"{run.env_steps:,}",
        "" if run.mean_return is None else format_return(run.mean_return),
        "" if run.best is None else format_return(run.best.return_mean),
        age(now - run.written_at),
        state_text(run),
    )


def state_text(run: RunFacts) -> str:
    """Return the state of a run with its reason on one line, which is cut if it is long."""
    reason = " ".join(run.reason.split())
    cut = f"{reason[:LONGEST]} ..." if len(reason) > LONGEST else reason
    return f"{run.state}: {cut}" if cut else run.state


def age(seconds: float) -> str:
    """Write seconds in the largest unit of which it is at least one."""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "0 s"


def to_json(run: RunFacts) -> dict[str, Any]:
    """Return the facts of a run as JSON values."""
    return {
        "run_dir": str(run.run.given),
        "env_id": run.env_id,
        "algo": run.algo,
        "seed": run.settings.get("seed"),
        "state": run.state,
        "reason": run.reason,
        "env_steps": run.env_steps,
        "episode_return_mean": run.mean_return,
        "best_evaluation": None if run.best is None else run.best._asdict(),
        "written_at": run.written_at,
    }
