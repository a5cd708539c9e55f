"""All that watches a run, in order: counters, files, the display, and watchers from users."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distpg.config.config import Config
from distpg.errors import InputError
from distpg.progress import Progress
from distpg.report.clock import Clock
from distpg.report.evaluation import EvaluateEvery
from distpg.report.faults import FaultCounter
from distpg.report.improvement import Improvement
from distpg.report.ranges import RangeWarnings
from distpg.report.tables import Tables
from distpg.report.watcher import RunStart
from distpg.run.checkpoint import MALFORMED
from distpg.run.checkpointer import Checkpointer
from distpg.run.hooks import Hook, SpareCopy, states_of
from distpg.run.plan import Plan
from distpg.run.safeguard import Rollback, SaveAnomalies
from distpg.train import LearnerProtocol, LoopWatcher, StopCondition, Workers

if TYPE_CHECKING:
    from distpg.report.display import Display


@dataclass(frozen=True)
class RunWatchers:
    """Those that the run itself needs, and all in order."""

    start: RunStart
    clock: Clock
    faults: FaultCounter
    evaluate: EvaluateEvery
    hooks: Sequence[Hook]
    checkpointer: Checkpointer
    display: "Display"
    in_order: Sequence[LoopWatcher]
    """Each sees the scalars of those before it."""
    earlier: Mapping[str, Any]
    """States at the checkpoint, in a resumed run."""

    def begin(self) -> None:
        """Tell them that training begins, or goes on from their states.

        Raises:
            RunError: one from the user raised, and is required.
        """
        states = dict(self.earlier)
        load_counts(self.clock, self.faults, states)
        self.clock.begin(self.start.progress)
        self.display.begin(self.start.progress)
        for hook in self.hooks:
            hook.begin(self.start, states.pop(hook.name, None))
        for name in sorted(states):
            self.display.say(f"warning: {name} watched this run before, and does not now")

    def end(self, result: Mapping[str, Any]) -> None:
        """Tell those from the user how the run ended."""
        for hook in self.hooks:
            hook.end(result)

    def states(self) -> dict[str, Any]:
        """Return what a resumed run goes on from, by name."""
        counts = {"clock": self.clock.state(), "faults": self.faults.state()}
        return counts | states_of(self.hooks)


@contextmanager
def run_watchers(
    plan: Plan,
    config: Config,
    workers: Workers,
    learner: LearnerProtocol,
    stop: StopCondition,
    display: "Display",
) -> Generator[RunWatchers]:
    """Context manager: the watchers of a run."""
    # actors import `run`, too, and do not need TensorBoard
    from distpg.report.tensorboard import TensorBoard

    run, say, overlap = plan.run, display.say, plan.overlaps(config)
    progress = plan.resume.progress if plan.resume else Progress()
    clock, fraction = Clock(plan.started), config.rollback_on_collapse
    with (
        closing(TensorBoard(run.path, config, progress, say)) as tensorboard,
        closing(
            Checkpointer(run, config, learner.state, workers.states, plan.attributes, say)
        ) as checkpointer,
        closing(SpareCopy(plan.source, config.first_other_copy, config.phase_timeout)) as spare,
    ):
        # a rollback depends on the evaluation
        decides = fraction is not None
        evaluate = EvaluateEvery(config.eval_every, workers, stop, say, decides=decides)
        rollback = Rollback(learner, checkpointer, fraction, say) if fraction else None
        hooks = [
            Hook(name, watcher, stop, plan.attributes, spare, checkpointer, say, overlap=overlap)
            for name, watcher in plan.watchers.items()
        ]

        def other_faults() -> dict[str, int]:
            return {
                "eval_cut_off": evaluate.num_cut_off,
                "rollbacks": rollback.count if rollback else 0,
                "checkpoint_failures": checkpointer.failures,
                "watcher_errors": sum(hook.errors for hook in hooks),
            }

        faults = FaultCounter(progress.env_faults, config.max_env_faults, other_faults, say)
        watchers = RunWatchers(
            start=RunStart(run.path, config, progress),
            clock=clock,
            faults=faults,
            evaluate=evaluate,
            hooks=hooks,
            checkpointer=checkpointer,
            display=display,
            in_order=[
                clock,
                # with overlap, a batch is not collected with what the update before it made
                *([] if config.overlap else [Improvement()]),
                faults,
                RangeWarnings(say),
                SaveAnomalies(config, run, workers.fetch, say),
                *([rollback] if rollback else []),
                *hooks,
                checkpointer,
                Tables(run.path, progress.iteration, clock, say),
                tensorboard,
                display,
            ],
            earlier=plan.resume.watchers if plan.resume else {},
        )
        checkpointer.watchers = watchers.states
        try:
            yield watchers
        finally:
            # a run that ends otherwise has told them
            for hook in hooks:
                hook.end({"stop_reason": "error"})


def load_counts(clock: Clock, faults: FaultCounter, states: dict[str, Any]) -> None:
    """Have the counters of a run count on from their states, and take those out.

    Raises:
        InputError: they are not such states.
    """
    try:
        if states:
            clock.load(states.pop("clock"))
            faults.load(states.pop("faults"))
    except MALFORMED as error:
        raise InputError(f"its times or counts of faults cannot be read: {error!r}") from error
