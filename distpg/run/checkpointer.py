"""When a run is saved: every few iterations, after its best evaluation so far, and at its end."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from distpg.config.config import Config
from distpg.errors import InputError, RunError
from distpg.iteration import Iteration
from distpg.progress import Progress
from distpg.records import LearnerState
from distpg.rollout.slot_state import SlotState
from distpg.run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from distpg.run.directory import RunDir

PATIENCE_S = 0.05
"""How long a save that is due waits for the one before."""


class Checkpointer:
    """Reads the state of a run at once; a thread of its own writes it while the run goes on."""

    def __init__(
        self,
        run: RunDir,
        config: Config,
        learner: Callable[[], LearnerState],
        slots: Callable[[], Sequence[SlotState | None]],
        say: Callable[[str], None],
    ) -> None:
        """Take where to save, how often, how states are read, and where to report failures."""
        self.run = run
        self.config = config
        self.learner = learner
        self.slots = slots
        self.say = say
        self.failures = 0
        """Checkpoints that could not be written."""
        self.due = False
        self.saved: Checkpoint | None = None
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.writing: deque[Future[None]] = deque()
        """One that is being written, and what waits."""
        best = self.best()
        self.best_return = (
            -math.inf if best is None or best.best_return is None else best.best_return
        )
        self.best_steps = -1 if best is None else best.progress.env_steps

    def on_iteration(self, iteration: Iteration) -> None:
        """Save if a checkpoint is due."""
        progress, evaluation = iteration.progress, iteration.evaluation
        best = None
        if evaluation is not None and evaluation.mean_return > self.best_return:
            best = evaluation.mean_return
            self.best_return, self.best_steps = best, progress.env_steps
        every = self.config.checkpoint_every
        self.due = self.due or bool(every and progress.iteration % every == 0)
        # on a slow disk a later iteration is saved, rather than that the loop waits
        if best is not None or (self.due and self._written(PATIENCE_S)):
            self.save(progress, best)

    def best(self) -> Checkpoint | None:
        """Load the best checkpoint, if there is an intact one."""
        self._settle(waits=True)
        link = self.run.checkpoints / "best"
        try:
            return load_checkpoint(link.resolve()) if link.is_symlink() else None
        except InputError as error:
            self.say(str(error))
            return None

    def save(self, progress: Progress, best_return: float | None = None) -> LearnerState:
        """Save now, unless that was just done; return the learner's state.

        What waits to be written as the best so far gives way to a better one.
        """
        self.due = False
        self._settle()
        if self.saved is None or self.saved.progress != progress:
            if best_return is not None and len(self.writing) > 1 and self.writing[-1].cancel():
                self.writing.pop()
            if best_return is None and progress.env_steps == self.best_steps:
                # it takes the best one's place, with the same weights
                best_return = self.best_return
            self.saved = Checkpoint(self.learner(), progress, self.slots(), best_return)
            task = self.thread.submit(save_checkpoint, self.run, self.saved, self.config)
            self.writing.append(task)
        return self.saved.learner

    def finish(self) -> None:
        """Wait until what was saved is on the disk.

        Raises:
            RunError: it could not be written.
        """
        problem = self._settle(waits=True)
        if problem:
            raise RunError(problem)

    def _written(self, patience_s: float) -> bool:
        """Tell whether nothing is being written, after so many seconds at most."""
        return not wait(self.writing, patience_s).not_done

    def _settle(self, *, waits: bool = False) -> str:
        """Collect finished writes, or wait for all; return the last one's error, if any.

        Training continues after an error, which is reported and counted.
        """
        problem = ""
        while self.writing and (waits or self.writing[0].done()):
            writing, problem = self.writing.popleft(), ""
            try:
                writing.result()
            except OSError as error:
                self.failures += 1
                self.saved = None
                problem = f"a checkpoint could not be written: {error}"
                self.say(problem)
        return problem

    def close(self) -> None:
        """Let the thread end with what it is writing."""
        self.thread.shutdown()
