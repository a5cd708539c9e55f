"""TensorBoard events, with the tags of Stable-Baselines3 and env steps on the x axis.

Records are written here because tensorboard's own writer uses a thread, where errors surface too
late, and torch's writer would import torch into the driver.

events.out.tfevents.*           all that a part of a run writes
events.out.tfevents.*.hparams   settings and status for HParams. TensorBoard keeps the first of each
                                that it reads, so a resumed run replaces these files
"""

# protobuf creates these classes at run time, invisible to pyright
# pyright: reportAttributeAccessIssue=false, reportUnknownParameterType=false

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from distpg.config.config import Config
from distpg.config.files import changed_settings
from distpg.iteration import Evaluation, Iteration
from distpg.progress import Progress
from distpg.report import summaries
from distpg.report.charts import charts_of
from distpg.report.clock import Clock
from distpg.report.texts import FaultRow, faults_text, settings_text

FAULTS = "faults/"
"""Tags of counts that are written from the first fault on, so that charts show what happened."""
MAX_FAULTS = 50
"""Faults in a text: TensorBoard shows but ten texts of a tag, so each has the last ones again."""
HPARAMS = ".hparams"


class TensorBoard:
    """Writes an event file in the run directory, and starts a new one after a write error."""

    def __init__(
        self,
        folder: Path,
        given: Config,
        config: Config,
        progress: Progress,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        """Open the file; in a resumed run, purge events from after its checkpoint.

        Args:
            folder: The run directory.
            given: The settings as they were given.
            config: The same, resolved.
            progress: Of the checkpoint, in a resumed run.
            clock: Knows the seconds of the last iteration.
            say: Called with a message after the first write error.
        """
        self.folder = folder
        self.config = config
        self.progress = progress
        """After the last iteration."""
        self.clock = clock
        self.say = say
        self.failed = False
        """Whether a write error was reported; only the first one is."""
        self.file: IO[bytes] | None = None
        self.tags: set[str] = set()
        """Of the scalars so far, in this part of the run."""
        self.faults: deque[FaultRow] = deque(maxlen=MAX_FAULTS)
        """Newest first."""
        self.has_news = False
        """Whether one of these is not written."""
        self.open = True
        """Whether the run has not ended."""
        if progress.iteration:
            self._remove_hparams()
        self._write_hparams(summaries.hparams_start(config, changed_settings(given)))
        if progress.iteration:
            purge = SessionLog(status=SessionLog.START)
            self._write(Event(session_log=purge, step=progress.env_steps + 1))
        self._write_summary(summaries.text("config", settings_text(given, config)))

    def on_iteration(self, iteration: Iteration) -> None:
        """Write the scalars of an iteration, its histograms, and the faults since the last one."""
        evaluation = iteration.evaluation
        own = evaluation.scalars() if evaluation else {}
        written = {
            tag: value
            for tag, value in iteration.scalars.items()
            if tag not in own and (value or tag in self.tags or not tag.startswith(FAULTS))
        }
        evaluates = self.config.eval_every > 0
        written |= self.clock.stacked(overlap=self.config.overlap, evaluates=evaluates)
        new = written.keys() - self.tags
        begun = [tag for tag in new if tag.startswith(FAULTS)]
        # what a resumed run has counted was not 0 before
        if begun and (self.tags or not self.progress.iteration):
            self._write_summary(summaries.scalars(dict.fromkeys(begun, 0.0)))
        self.progress = iteration.progress
        summary = self._scalars(written)
        for tag, bins in iteration.update.histograms.items():
            summary.MergeFrom(summaries.histogram(tag, bins))
        self._write_summary(summary)
        if evaluation is not None:
            self.add_evaluation(evaluation)
        self._write_faults()

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """Write the scalars of an evaluation, at the env steps of its policy."""
        assert evaluation.env_steps is not None, "it is of a run"
        summary = self._scalars(evaluation.scalars())
        self._write(Event(summary=summary, step=evaluation.env_steps))

    def add_clip(self, gif: bytes, width: int, height: int, *, env_steps: int) -> None:
        """Write a clip, at the env steps of its policy."""
        self._write(Event(summary=summaries.clip(gif, width, height), step=env_steps))

    def _scalars(self, values: Mapping[str, float]) -> Summary:
        """Return scalars, and the layout if tags are new."""
        new = values.keys() - self.tags
        summary = summaries.scalars(values)
        self.tags |= new
        if new:
            summary.MergeFrom(summaries.layout(charts_of(self.tags)))
        return summary

    def add_fault(self, kind: str, message: str) -> None:
        """Keep a fault for the text that is written after the iteration, or at the end."""
        progress = self.clock.progress
        self.faults.appendleft(FaultRow(progress.env_steps, progress.iteration, kind, message))
        self.has_news = True

    def end(self, result: Mapping[str, Any]) -> None:
        """Write how the run ended, once."""
        if self.open:
            self.open = False
            self._write_faults()
            self._write_hparams(summaries.hparams_end(failed=result["stop_reason"] == "error"))

    def _write_faults(self) -> None:
        if self.has_news:
            self.has_news = False
            self._write_summary(summaries.text("faults", faults_text(self.faults)))

    def _write_summary(self, summary: Summary) -> None:
        self._write(Event(summary=summary, step=self.progress.env_steps))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with self._reporting():
            self.file = self.file or self._new_file()
            RecordWriter(self.file).write(event.SerializeToString())
            self.file.flush()
            if not os.fstat(self.file.fileno()).st_nlink:
                raise FileNotFoundError("the file was removed")

    def _write_hparams(self, summary: Summary) -> None:
        with self._reporting(), self._new_file(HPARAMS) as file:
            event = Event(summary=summary, wall_time=time.time())
            RecordWriter(file).write(event.SerializeToString())

    def _remove_hparams(self) -> None:
        with self._reporting():
            for path in self.folder.glob(f"events.out.tfevents.*{HPARAMS}"):
                path.unlink()

    @contextmanager
    def _reporting(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            if not self.failed:
                self.say(f"TensorBoard events cannot be written: {error}; training continues")
            self.failed = True
            self.close()

    def _new_file(self, suffix: str = "") -> IO[bytes]:
        # file names sort by time
        place = f"{socket.gethostname()}.{os.getpid()}{suffix}"
        file = (self.folder / f"events.out.tfevents.{time.time():.6f}.{place}").open("wb")
        head = Event(wall_time=time.time(), file_version="brain.Event:2")
        RecordWriter(file).write(head.SerializeToString())
        return file

    def close(self) -> None:
        """Close the file."""
        file, self.file = self.file, None
        if file is not None:
            with suppress(OSError):
                file.close()
