"""All that watches a run, in order: counters, files, the display, and watchers from users."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from distpg.config.config import Config
from distpg.errors import InputError
from distpg.iteration import ProcessFaults
from distpg.progress import Progress
from distpg.report.clock import Clock
from distpg.report.faults import FaultCounter
from distpg.report.improvement import Improvement
from distpg.report.ranges import RangeWarnings
from distpg.report.tables import Tables
from distpg.report.watcher import RunStart
from distpg.run.checkpoint import MALFORMED, Checkpoint
from distpg.run.checkpointer import Checkpointer
from distpg.run.clips import Clips
from distpg.run.evaluations import Evaluations
from distpg.run.hooks import Hook, SpareCopy, states_of
from distpg.run.plan import Plan, RunWorkers
from distpg.run.safeguard import Rollback, SaveAnomalies
from distpg.train import LearnerProtocol, LoopWatcher, StopCondition

if TYPE_CHECKING:
    from distpg.report.display import Display
    from distpg.report.tensorboard import TensorBoard


class Counter(Protocol):
    """What counts on in a resumed run."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Count on from a state."""
        ...


@dataclass(frozen=True)
class RunWatchers:
    """Those that the run itself needs, and all in order."""

    start: RunStart
    clock: Clock
    faults: FaultCounter
    processes: Callable[[], ProcessFaults]
    """Counts the processes that were replaced since the start, or the resume."""
    evaluations: Evaluations
    hooks: Sequence[Hook]
    checkpointer: Checkpointer
    tables: Tables
    tensorboard: "TensorBoard"
    clips: Clips
    display: "Display"
    in_order: Sequence[LoopWatcher]
    """Each sees the scalars of those before it."""
    resumed: Checkpoint | None
    """The checkpoint that a resumed run goes on from."""

    def begin(self) -> None:
        """Tell them that training begins, or goes on from their states.

        Raises:
            RunError: one from the user raised, and is required.
        """
        states = dict(self.resumed.watchers) if self.resumed else {}
        load_counts(states, clock=self.clock, faults=self.faults, evaluations=self.evaluations.last)
        self.clock.begin(self.start.progress)
        self.display.faults.write_to(self.tables.add_fault, self.tensorboard.add_fault)
        self.display.begin(self.start.progress, self.clock)
        for hook in self.hooks:
            hook.begin(self.start, states.pop(hook.name, None))
        for name in sorted(states):
            self.display.say(f"warning: {name} watched this run before, and does not now")
        if self.resumed:
            self.evaluations.resume(self.resumed.candidate, asked=self.resumed.evaluation_asked)

    def finish(self, progress: Progress) -> None:
        """Wait for the evaluation and the clip that are under way or due when a run ends.

        Nothing is waited for after a signal.
        """
        evaluation = self.evaluations.finish(progress)
        if evaluation is not None:
            self.checkpointer.judge(evaluation)
            self.tables.add_evaluation(evaluation)
            self.tensorboard.add_evaluation(evaluation)
        self.clips.finish(self.evaluations.is_stopped)

    def summary(self) -> dict[str, Any]:
        """Return what `result.json` says of faults, evaluations and tables."""
        self.faults.count(self.processes())
        best = self.checkpointer
        found = {"return_mean": best.best_return, "env_steps": best.best_steps}
        return {
            **self.faults.summary(),
            "evaluation": self.evaluations.last.summary,
            "best_evaluation": found if best.best_steps >= 0 else None,
            "tables_complete": not self.tables.failed,
        }

    def end(self, result: Mapping[str, Any]) -> None:
        """Tell those from the user, and TensorBoard, how the run ended."""
        for hook in self.hooks:
            hook.end(result)
        self.tensorboard.end(result)

    def states(self) -> dict[str, Any]:
        """Return what a resumed run goes on from, by name."""
        counts = {
            "clock": self.clock.state(),
            "faults": self.faults.state(),
            "evaluations": self.evaluations.last.state(),
        }
        return counts | states_of(self.hooks)


@contextmanager
def run_watchers(
    plan: Plan,
    config: Config,
    workers: RunWorkers,
    learner: LearnerProtocol,
    stop: StopCondition,
    display: "Display",
) -> Generator[RunWatchers]:
    """Context manager: the watchers of a run."""
    # actors import `run`, too, and do not need TensorBoard
    from distpg.report.tensorboard import TensorBoard

    run, say, events, overlap = plan.run, display.say, display.faults, plan.overlaps(config)

    def fault(kind: str) -> Callable[[str], None]:
        return partial(events.report, kind)

    progress = plan.resume.progress if plan.resume else Progress()
    clock, fraction = Clock(plan.started), config.rollback_on_collapse
    with (
        closing(TensorBoard(run.path, plan.config, config, progress, clock, say)) as tensorboard,
        closing(
            Checkpointer(
                *(run, config, learner.state, workers.states, plan.attributes),
                fault("checkpoint_failures"),
            )
        ) as checkpointer,
        closing(SpareCopy(plan.source, config.first_other_copy, config.phase_timeout)) as spare,
    ):
        evaluations = Evaluations(config, workers, learner, checkpointer, stop, say)
        rollback = (
            Rollback(learner, checkpointer, fraction, fault("rollbacks")) if fraction else None
        )
        hooks = [
            Hook(
                *(name, watcher, stop, plan.attributes, spare, checkpointer),
                fault("watcher_errors"),
                overlap=overlap,
            )
            for name, watcher in plan.watchers.items()
        ]

        def other_faults() -> dict[str, int]:
            return {
                "eval_cut_off": evaluations.num_cut_off,
                "rollbacks": rollback.count if rollback else 0,
                "checkpoint_failures": checkpointer.failures,
                "watcher_errors": sum(hook.errors for hook in hooks),
            }

        faults = FaultCounter(progress.env_faults, config.max_env_faults, other_faults, events)
        tables = Tables(run.path, progress.iteration, config.evaluation_delay, clock, say)
        clips = Clips(config.video_every, workers, plan.attributes, tensorboard, say)
        watchers = RunWatchers(
            start=RunStart(run.path, config, progress),
            clock=clock,
            faults=faults,
            processes=lambda: workers.faults() + learner.faults(),
            evaluations=evaluations,
            hooks=hooks,
            checkpointer=checkpointer,
            tables=tables,
            tensorboard=tensorboard,
            clips=clips,
            display=display,
            in_order=[
                clock,
                evaluations,
                # with overlap, a batch is not collected with what the update before it made
                *([] if config.overlap else [Improvement()]),
                faults,
                RangeWarnings(say),
                SaveAnomalies(config, run, workers.fetch, fault("rolled_back_updates")),
                *([rollback] if rollback else []),
                *hooks,
                checkpointer,
                tables,
                tensorboard,
                *([clips] if config.video_every else []),
                display,
            ],
            resumed=plan.resume,
        )
        checkpointer.watchers = watchers.states
        try:
            yield watchers
        finally:
            # a run that ends otherwise has told them
            watchers.end({"stop_reason": "error"})
            events.write_to()


def load_counts(states: dict[str, Any], **counters: "Counter") -> None:
    """Have the counters of a run count on from their states, by name, and take those out.

    Raises:
        InputError: they are not such states.
    """
    try:
        for name, counter in counters.items() if states else ():
            counter.load(states.pop(name))
    except MALFORMED as error:
        raise InputError(f"its times or counts of faults cannot be read: {error!r}") from error
