"""Save checkpoints: every few iterations, after the best evaluation so far, and at the end."""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from distpg.config.config import Config
from distpg.errors import InputError, RunError
from distpg.iteration import Iteration
from distpg.progress import Progress
from distpg.records import LearnerState
from distpg.rollout.attributes import EnvAttributes
from distpg.rollout.slot_state import SlotState
from distpg.run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from distpg.run.directory import RunDir

MAX_WAIT_S = 0.05
"""Seconds that the loop waits for the previous checkpoint before it postpones a due one."""


class Checkpointer:
    """Takes snapshots of a run, which a background thread writes while training continues."""

    def __init__(
        self,
        run: RunDir,
        config: Config,
        learner: Callable[[], LearnerState],
        slots: Callable[[], Sequence[SlotState | None]],
        attributes: EnvAttributes,
        say: Callable[[str], None],
    ) -> None:
        """Initialize.

        Args:
            run: The run directory.
            config: The resolved configuration; it sets how often to save.
            learner: Returns the learner's state.
            slots: Returns the state of each slot.
            attributes: What watchers set in the environments.
            say: Called with a message if a checkpoint cannot be written or read.
        """
        self.run = run
        self.config = config
        self.learner = learner
        self.slots = slots
        self.attributes = attributes
        self.watchers: Callable[[], Mapping[str, Any]] = dict
        """Returns the states of watchers, by name."""
        self.say = say
        self.failures = 0
        """Number of checkpoints that could not be written."""
        self.due = False
        """Whether a periodic checkpoint was postponed."""
        self.saved: Checkpoint | None = None
        """The last snapshot, unless it could not be written."""
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.writing: deque[Future[None]] = deque()
        """The checkpoint that is being written, and those that wait for it."""
        self.best_return, self.best_steps = -math.inf, -1
        best = self.best()
        if best is not None and best.best_return is not None:
            self.best_return, self.best_steps = best.best_return, best.progress.env_steps

    def on_iteration(self, iteration: Iteration) -> None:
        """Save a checkpoint if one is due, or if the evaluation is the best so far."""
        progress, evaluation = iteration.progress, iteration.evaluation
        best = None
        if evaluation is not None and evaluation.mean_return > self.best_return:
            best = evaluation.mean_return
            self.best_return, self.best_steps = best, progress.env_steps
        every = self.config.checkpoint_every
        self.due = self.due or bool(every and progress.iteration % every == 0)
        # with a slow disk, save a later iteration instead of blocking the loop
        if best is not None or (self.due and self._all_written(MAX_WAIT_S)):
            self.save(progress, best)

    def best(self) -> Checkpoint | None:
        """Load the best checkpoint; None if there is none or it is damaged."""
        self._collect_writes(block=True)
        link = self.run.checkpoints / "best"
        try:
            return load_checkpoint(link.resolve()) if link.is_symlink() else None
        except InputError as error:
            self.say(str(error))
            return None

    def save(self, progress: Progress, best_return: float | None = None) -> LearnerState:
        """Save a checkpoint, unless this state was saved last; return the learner's state.

        A best-so-far checkpoint that still waits to be written is replaced by a better one.
        """
        self.due = False
        self._collect_writes()
        if self.saved is None or self.saved.progress != progress:
            if best_return is not None and len(self.writing) > 1 and self.writing[-1].cancel():
                self.writing.pop()
            if best_return is None and progress.env_steps == self.best_steps:
                # it overwrites the best checkpoint, which has the same weights
                best_return = self.best_return
            self.saved = Checkpoint(
                self.learner(),
                progress,
                self.slots(),
                best_return,
                self.watchers(),
                self.attributes.to_json(progress.iteration),
            )
            task = self.thread.submit(save_checkpoint, self.run, self.saved, self.config)
            self.writing.append(task)
        return self.saved.learner

    def finish(self) -> None:
        """Wait until all checkpoints are written.

        Raises:
            RunError: the last one could not be written.
        """
        message = self._collect_writes(block=True)
        if message:
            raise RunError(message)

    def _all_written(self, timeout_s: float) -> bool:
        return not wait(self.writing, timeout_s).not_done

    def _collect_writes(self, *, block: bool = False) -> str:
        """Collect finished writes (or wait for all); return the last one's error, if any.

        Training continues after an error, which is reported and counted.
        """
        message = ""
        while self.writing and (block or self.writing[0].done()):
            writing, message = self.writing.popleft(), ""
            try:
                writing.result()
            except OSError as error:
                self.failures += 1
                self.saved = None
                message = f"a checkpoint could not be written: {error}"
                self.say(message)
        return message

    def close(self) -> None:
        """Wait for the thread to finish writing."""
        self.thread.shutdown()
