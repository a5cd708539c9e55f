"""TensorBoard events, with the tags of Stable-Baselines3 and env steps on the x axis.

Written by tensorboard's own writer, which needs no torch.
"""

# protobuf makes these classes at run time, where pyright does not see them
# pyright: reportAttributeAccessIssue=false, reportUnknownParameterType=false

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from distpg.config import Config
from distpg.config_file import to_toml
from distpg.progress import Progress


class TensorBoard:
    """One event file in the run's directory."""

    def __init__(self, folder: Path, config: Config, progress: Progress) -> None:
        """Open the file; on a resumed run, hide what was written beyond its checkpoint."""
        self.writer = EventFileWriter(str(folder))
        self.began = time.perf_counter()
        self.start = progress
        if progress.iteration:
            purge = SessionLog(status=SessionLog.START)
            self._write(Event(session_log=purge, step=progress.env_steps + 1))
        else:
            self._write_text("config", f"```\n{to_toml(config)}```")

    def on_iteration(
        self, progress: Progress, scalars: Mapping[str, float], weights: object
    ) -> None:
        """Write the scalars of one iteration."""
        elapsed = time.perf_counter() - self.began
        values = {
            "rollout/ep_rew_mean": progress.mean_return,
            "rollout/ep_len_mean": progress.mean_length,
            "time/fps": (progress.env_steps - self.start.env_steps) / elapsed,
            "time/iterations": progress.iteration,
            "time/time_elapsed": elapsed,
            "time/total_timesteps": progress.env_steps,
            **scalars,
        }
        summary = Summary(
            value=[
                Summary.Value(tag=tag, simple_value=value)
                for tag, value in values.items()
                if value is not None
            ]
        )
        self._write(Event(summary=summary, step=progress.env_steps))
        self.writer.flush()

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
        self.writer.add_event(event)

    def close(self) -> None:
        """Write out what is left."""
        self.writer.close()
