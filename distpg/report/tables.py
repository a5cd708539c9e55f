"""CSV files of a run: a row for each iteration, episode and fault.

progress.csv   iteration, env_steps, and every scalar by its TensorBoard tag
episodes.csv   r, l, t as Stable-Baselines3's Monitor writes them, where, and what the env reported
evaluations.csv the policy that was evaluated, in which iteration its result took effect, returns
faults.csv     t, the last iteration before it, what kind of fault, and its message
"""

import csv
import io
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from distpg.errors import format_error
from distpg.iteration import Evaluation, Iteration
from distpg.progress import Progress
from distpg.report.evaluation import to_json
from distpg.report.log import append

Row = Mapping[str, Any]
FILES = {
    "progress.csv": ("iteration", "env_steps"),
    "episodes.csv": ("r", "l", "t", "iteration", "slot"),
    "evaluations.csv": (
        *("iteration", "env_steps", "takes_effect", "episodes", "return_mean", "return_std"),
        *("return_interval", "return_min", "return_max", "length_mean", "cut_off"),
    ),
    "faults.csv": ("t", "iteration", "kind", "message"),
}
"""Their first columns."""


class Elapsed(Protocol):
    """What knows the seconds of a run."""

    @property
    def trained_s(self) -> float:
        """Seconds until the end of the last update."""
        ...

    @property
    def progress(self) -> Progress:
        """After the last update."""
        ...


class Table:
    """A CSV file that grows by rows, and by columns when a row has a new one.

    A resumed run goes on after the rows up to its checkpoint.
    """

    def __init__(self, path: Path, columns: Sequence[str], last: int) -> None:
        """Open the file.

        Args:
            path: The file.
            columns: The first ones, of every row; `takes_effect` or else `iteration` orders them.
            last: The iteration after which rows are of a part of the run that is repeated.
        """
        key = "takes_effect" if "takes_effect" in columns else "iteration"
        self.path = path
        self.columns = list(columns)
        rows: list[dict[str, str]] = []
        if last and path.is_file():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                self.columns = [*(reader.fieldnames or columns)]
                # a torn last row has no iteration
                rows = [row for row in reader if 0 <= int(row[key] or -1) <= last]
        self._write(rows)

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows; what a row lacks is left empty."""
        names = dict.fromkeys(name for row in rows for name in row)
        new = [name for name in names if name not in self.columns]
        if new:
            with self.path.open(newline="") as file:
                before = list(csv.DictReader(file))
            self.columns += new
            self._write([*before, *rows])
        elif rows:
            append(self.path, self._format(rows))

    def _write(self, rows: Sequence[Row]) -> None:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.columns).writeheader()
        partial = self.path.with_name(f"{self.path.name}.tmp")
        partial.unlink(missing_ok=True)
        append(partial, text.getvalue() + self._format(rows))
        partial.rename(self.path)

    def _format(self, rows: Sequence[Row]) -> str:
        text = io.StringIO(newline="")
        csv.DictWriter(text, self.columns).writerows(rows)
        return text.getvalue()


class Tables:
    """Writes the files of a run; after an error the run goes on without them."""

    def __init__(
        self,
        folder: Path,
        iteration: int,
        delay: int,
        clock: Elapsed,
        say: Callable[[str], None],
    ) -> None:
        """Open the files.

        Args:
            folder: The run directory.
            iteration: Of the checkpoint, in a resumed run; else 0.
            delay: Iterations until the result of an evaluation takes effect.
            clock: Knows the seconds of the run.
            say: Called with a message after an error.
        """
        self.delay = delay
        self.clock = clock
        self.say = say
        self.failed = False
        self.tables: dict[str, Table] = {}
        with self._reporting():
            for name, columns in FILES.items():
                self.tables[name] = Table(folder / name, columns, iteration)

    def on_iteration(self, iteration: Iteration) -> None:
        """Write the rows of an iteration."""
        number, t = iteration.progress.iteration, round(self.clock.trained_s, 3)
        if self.failed:
            return
        with self._reporting():
            counts = {"iteration": number, "env_steps": iteration.progress.env_steps}
            self.tables["progress.csv"].add([{**counts, **iteration.scalars}])
            self.tables["episodes.csv"].add([*self._episodes(iteration, t)])
        if iteration.evaluation is not None:
            self.add_evaluation(iteration.evaluation)

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """Write the row of an evaluation."""
        if self.failed:
            return
        with self._reporting():
            values = to_json(evaluation)
            takes_effect = values["iteration"] + self.delay
            row = {**values.pop("metrics"), **values, "takes_effect": takes_effect}
            self.tables["evaluations.csv"].add([row])

    def add_fault(self, kind: str, message: str) -> None:
        """Write the row of a fault."""
        if self.failed:
            return
        t, number = round(self.clock.trained_s, 3), self.clock.progress.iteration
        row = {"t": t, "iteration": number, "kind": kind, "message": message}
        with self._reporting():
            self.tables["faults.csv"].add([row])

    def _episodes(self, iteration: Iteration, t: float) -> Iterator[Row]:
        for slot in iteration.collection.stats:
            episodes = zip(
                slot.episode_returns, slot.episode_lengths, slot.episode_metrics, strict=True
            )
            for total, length, metrics in episodes:
                where = {"t": t, "iteration": iteration.progress.iteration, "slot": slot.slot}
                yield {**metrics, "r": round(float(total), 6), "l": int(length), **where}

    @contextmanager
    def _reporting(self) -> Generator[None]:
        try:
            yield
        except (KeyError, OSError, TypeError, ValueError, csv.Error) as error:
            self.failed = True
            self.say(
                f"{', '.join(FILES)} cannot be written: {format_error(error)}; training continues"
            )
