"""The progress of `evaluate`: how many episodes are done."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def showing_episodes(total: int) -> Generator[Callable[[int], None]]:
    """Context manager: a live line on standard error, if that is a terminal."""
    console = Console(file=sys.stderr)
    with Progress(
        TextColumn("episodes"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("episodes", total=total)
        yield lambda done: bar.update(task, completed=done)
