"""The base class of watchers: the hook for code of your own (docs/watchers.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distpg.config.config import Config
from distpg.iteration import Iteration, Response
from distpg.progress import Progress


@dataclass(frozen=True)
class RunStart:
    """What a watcher is told before the first iteration."""

    run_dir: Path
    config: Config
    progress: Progress
    """Of the checkpoint in a resumed run; else of no iteration."""

    @property
    def resumed(self) -> bool:
        """Whether the run continues from a checkpoint."""
        return self.progress.iteration > 0


class Watcher:
    """Sees every iteration after its update, in the driver's process; override what is needed.

    A method that raises ends the run, which is saved before, with an error that names the watcher.
    With `required` False the error is counted under `faults/watcher_errors`, and the run goes on.
    """

    required: bool = True

    def begin(self, run: RunStart) -> None:
        """Prepare for the run, after `load` in a resumed one."""

    def on_iteration(self, iteration: Iteration) -> Response | Mapping[str, float] | None:
        """Look at an iteration.

        Returns:
            Scalars by TensorBoard tag, which are logged with the others; a `Response`, which may
            also ask for something; or None.
        """

    def end(self, result: Mapping[str, Any]) -> None:
        """Finish, after the content of `result.json` was written.

        It is called however the run ends, unless its process is killed; after an abort `result` has
        nothing but `stop_reason`.
        """

    def state(self) -> Mapping[str, Any]:
        """Return what a resumed run needs to go on in the same way, as JSON values."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned at the checkpoint."""
