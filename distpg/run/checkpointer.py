"""Save checkpoints: every few iterations, after the best evaluation so far, and at the end."""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from distpg.config.config import Config
from distpg.errors import InputError, RunError
from distpg.iteration import Evaluation, Iteration
from distpg.progress import Progress
from distpg.records import LearnerState
from distpg.rollout.attributes import EnvAttributes
from distpg.rollout.slot_state import SlotState
from distpg.run.checkpoint import Candidate, Checkpoint, load_checkpoint
from distpg.run.directory import RunDir
from distpg.run.saving import save_best, save_checkpoint

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
        """Whether a periodic checkpoint was postponed, or a watcher asked for one."""
        self.evaluation_asked = False
        """Whether a watcher asked for an evaluation, which has not begun."""
        self.candidate: Candidate | None = None
        """The policy whose evaluation is under way, if one is."""
        self.saved: Checkpoint | None = None
        """The last snapshot, unless it could not be written."""
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.writing: deque[Future[None]] = deque()
        """The checkpoint that is being written, and those that wait for it."""
        self.writing_best: Future[None] | None = None
        """The last of them that is the best policy."""
        self.saved_best = -math.inf, -1
        """Return and env steps of the best policy before that."""
        self.best_return, self.best_steps = -math.inf, -1
        best = self.best()
        if best is not None and best.best_return is not None:
            self.best_return, self.best_steps = best.best_return, best.progress.env_steps

    def on_iteration(self, iteration: Iteration) -> None:
        """Save the policy of an evaluation that is the best so far, and a checkpoint if due."""
        progress = iteration.progress
        if iteration.evaluation is not None:
            self.judge(iteration.evaluation)
        every = self.config.checkpoint_every
        self.due = self.due or bool(every and progress.iteration % every == 0)
        # with a slow disk, save a later iteration instead of blocking the loop
        if self.due and self._all_written(MAX_WAIT_S):
            self.save(progress)

    def begin_evaluation(self, progress: Progress) -> Candidate:
        """Keep the policy as it is now until its evaluation is judged."""
        candidate = Candidate(
            progress.iteration, self._snapshot(progress), dict(self.attributes.evaluation)
        )
        self.evaluation_asked = False
        self.candidate = candidate
        return candidate

    def judge(self, evaluation: Evaluation) -> None:
        """Make the candidate the best policy, if its evaluation says so.

        One that still waits to be written is replaced by a better one.
        """
        candidate, self.candidate = self.candidate, None
        assert candidate is not None, "it was evaluated"
        if evaluation.mean_return <= self.best_return:
            return
        best = replace(candidate.checkpoint, best_return=evaluation.mean_return)
        self.saved_best = self.best_return, self.best_steps
        self.best_return, self.best_steps = evaluation.mean_return, best.progress.env_steps
        self._collect_writes()
        waiting = self.writing[-1] if len(self.writing) > 1 else None
        if waiting is not None and waiting is self.writing_best and waiting.cancel():
            self.writing.pop()
        self._write(save_best, best)
        self.writing_best = self.writing[-1]

    def best(self) -> Checkpoint | None:
        """Load the best checkpoint; None if there is none or it is damaged."""
        self._collect_writes(block=True)
        link = self.run.checkpoints / "best"
        try:
            return load_checkpoint(link.resolve()) if link.is_symlink() else None
        except InputError as error:
            self.say(str(error))
            return None

    def save(self, progress: Progress) -> LearnerState:
        """Save a checkpoint, unless this state was saved last; return the learner's state."""
        self.due = False
        self._collect_writes()
        if self.saved is None or self.saved.progress != progress:
            self.saved = self._snapshot(progress)
            self._write(save_checkpoint, self.saved)
        return self.saved.learner

    def _snapshot(self, progress: Progress) -> Checkpoint:
        if self.saved is not None and self.saved.progress == progress:
            return self.saved
        # it overwrites the best checkpoint if it has the same env steps, and so the same weights
        is_best = progress.env_steps == self.best_steps
        return Checkpoint(
            self.learner(),
            progress,
            self.slots(),
            self.best_return if is_best else None,
            self.watchers(),
            self.attributes.to_json(progress.iteration),
            candidate=self.candidate,
            evaluation_asked=self.evaluation_asked,
        )

    def _write(self, write: Callable[..., None], checkpoint: Checkpoint) -> None:
        self.writing.append(self.thread.submit(write, self.run, checkpoint, self.config))

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
                if writing is self.writing_best:
                    self.best_return, self.best_steps = self.saved_best
                message = f"a checkpoint could not be written: {error}"
                self.say(message)
        return message

    def close(self) -> None:
        """Wait for the thread to finish writing."""
        self.thread.shutdown()
