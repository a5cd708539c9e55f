"""TensorBoard events, with the tags of Stable-Baselines3 and env steps on the x axis.

Records are written here because tensorboard's own writer uses a thread, where errors surface too
late, and torch's writer would import torch into the driver.
"""

# protobuf creates these classes at run time, invisible to pyright
# pyright: reportAttributeAccessIssue=false, reportUnknownParameterType=false

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.record_writer import RecordWriter

from distpg.config.config import Config
from distpg.config.files import to_toml
from distpg.iteration import Iteration
from distpg.progress import Progress


class TensorBoard:
    """Writes an event file in the run directory, and starts a new one after a write error."""

    def __init__(
        self, folder: Path, config: Config, progress: Progress, say: Callable[[str], None]
    ) -> None:
        """Open the file; in a resumed run, purge events from after its checkpoint."""
        self.folder = folder
        self.say = say
        self.failed = False
        """Whether a write error was reported; only the first one is."""
        self.file: IO[bytes] | None = None
        if progress.iteration:
            purge = SessionLog(status=SessionLog.START)
            self._write(Event(session_log=purge, step=progress.env_steps + 1))
        else:
            self._write_text("config", f"```\n{to_toml(config)}```")

    def on_iteration(self, iteration: Iteration) -> None:
        """Write the scalars of an iteration."""
        values = [
            Summary.Value(tag=tag, simple_value=value) for tag, value in iteration.scalars.items()
        ]
        self._write(Event(summary=Summary(value=values), step=iteration.progress.env_steps))

    def _write_text(self, tag: str, text: str) -> None:
        plugin = SummaryMetadata.PluginData(plugin_name="text")
        tensor = TensorProto(
            dtype="DT_STRING",
            string_val=[text.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        value = Summary.Value(
            tag=f"{tag}/text_summary",
            metadata=SummaryMetadata(plugin_data=plugin),
            tensor=tensor,
        )
        self._write(Event(summary=Summary(value=[value]), step=0))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        try:
            self.file = self.file or self._open()
            RecordWriter(self.file).write(event.SerializeToString())
            self.file.flush()
            if not os.fstat(self.file.fileno()).st_nlink:
                raise FileNotFoundError("the file was removed")
        except OSError as error:
            if not self.failed:
                self.say(f"TensorBoard events cannot be written: {error}; training continues")
            self.failed = True
            self.close()

    def _open(self) -> IO[bytes]:
        # file names sort by time
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        file = (self.folder / name).open("wb")
        head = Event(wall_time=time.time(), file_version="brain.Event:2")
        RecordWriter(file).write(head.SerializeToString())
        return file

    def close(self) -> None:
        """Close the file."""
        file, self.file = self.file, None
        if file is not None:
            with suppress(OSError):
                file.close()
