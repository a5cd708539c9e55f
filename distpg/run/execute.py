"""Execute a run: set-up, training, result and clean-up."""

import dataclasses
import importlib
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distpg.config.config import Config
from distpg.envs.make import EnvSource, is_bare_atari
from distpg.errors import RunError, prefix_errors
from distpg.policy.architecture import Architecture
from distpg.policy.file import policy_bytes
from distpg.policy.reach import out_of_reach
from distpg.policy.readings import check_readings, describe_leaf
from distpg.progress import Progress
from distpg.records import LearnerState
from distpg.report.clock import Clock
from distpg.report.evaluation import EvaluateEvery
from distpg.report.faults import FaultCounter
from distpg.report.improvement import Improvement
from distpg.report.numbers import format_return
from distpg.report.ranges import RangeWarnings
from distpg.rollout.closing import closing_workers
from distpg.run.checkpoint import Checkpoint, list_checkpoints
from distpg.run.checkpointer import Checkpointer
from distpg.run.directory import RunDir, write_atomically
from distpg.run.preflight import check_env, check_slots
from distpg.run.safeguard import Rollback, SaveAnomalies
from distpg.run.summary import command_line, continue_flags, next_steps, summarize
from distpg.run.unused_settings import unused_settings
from distpg.signals import defer_signals, handle_signals, interrupt
from distpg.spaces import ActionSpec, ObsSpec, spaces_from_json
from distpg.train import LearnerProtocol, StopCondition, Watcher, Workers, train_loop

if TYPE_CHECKING:
    from distpg.report.display import Display


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    run_dir: Path
    result: dict[str, Any]
    """The content of `result.json`."""
    signal: int | None
    """The signal that stopped the run, if one did."""

    @property
    def exit_code(self) -> int:
        """Exit code of the process: 0, or 128 + signal."""
        return 128 + self.signal if self.signal else 0


@dataclass(frozen=True)
class Plan:
    """Everything that defines a run before it starts."""

    config: Config
    source: EnvSource
    run: RunDir
    overwrite: bool = False
    quiet: bool = False
    start_from: LearnerState | None = None
    """Networks of another run to start from."""
    resume: Checkpoint | None = None
    """Checkpoint to resume from."""
    notes: tuple[str, ...] = ()
    """Lines to print when the run starts."""
    started: float = dataclasses.field(default_factory=time.time)
    """Unix time from which the times in the result are counted."""

    def display(self) -> "Display":
        """Create the progress display."""
        from distpg.report.display import Display

        return Display(self.config, quiet=self.quiet)

    def workers_and_learner(
        self, specs: tuple[ObsSpec, ActionSpec], display: "Display"
    ) -> AbstractContextManager[tuple[Workers, LearnerProtocol, Config]]:
        """Context manager: the workers, the learner, and the config as they resolved it."""
        return workers_and_learner(self, specs, display)

    def stop(self, config: Config) -> StopCondition:
        """Return the stop condition."""
        return StopCondition(config.total_steps, config.stop_at_return)

    def overlaps(self, config: Config) -> bool:
        """Return whether the next rollouts are collected during an update."""
        return config.overlap

    def summary(self, workers: Any) -> dict[str, Any]:
        """Return the entries of `result.json` that only this kind of run has."""
        return {}

    def headline(self, result: dict[str, Any]) -> str:
        """Return one line that reports how the run ended."""
        mean = result["episode_return_mean"]
        outcome = "no episode finished" if mean is None else f"mean return {format_return(mean)}"
        return (
            f"{result['stop_reason']}: {outcome} after {result['env_steps']:,} env steps, "
            f"{result['wall_s']:.1f} s"
        )

    def resume_hint(self, *flags: str) -> str:
        """Return a line with the command that continues the run."""
        return f"resume it:    {command_line('resume', str(self.run.given), *flags)}"


def execute(plan: Plan) -> Outcome:
    """Run a plan to its end.

    Raises:
        InputError: the plan is invalid; nothing was created.
        RunError: the run could not continue; its checkpoints are kept.
    """
    with ExitStack() as stack:
        # until training starts there is nothing to save
        stack.enter_context(handle_signals(interrupt))
        plan, specs = check_plan(plan)
        # removes an empty run directory if the run does not start
        unstarted = stack.enter_context(ExitStack())
        with defer_signals():
            created = [] if plan.resume else plan.run.claim(overwrite=plan.overwrite)
            unstarted.callback(plan.run.undo_claim, created)
        stack.enter_context(plan.run.locked())
        display = plan.display()
        stack.callback(display.close)
        workers, learner, config = stack.enter_context(plan.workers_and_learner(specs, display))
        stop = plan.stop(config)
        stack.enter_context(interruptible(stop, display))
        unstarted.pop_all()
        if plan.overwrite:
            plan.run.clear()
        plan.run.write_config(config)
        for note in notes(plan, config, specs):
            display.say(note)
        result = train_and_save(plan, config, workers, learner, stop, display)
    announce(display, plan, result)
    return Outcome(plan.run.path, result, stop.signal)


def check_plan(plan: Plan) -> tuple[Plan, tuple[ObsSpec, ActionSpec]]:
    """Try the environment, the encoder and the slots to resume, before anything is created.

    Returns:
        The plan, its source completed by `check_env`; the observation and action specs.

    Raises:
        InputError: one of them does not work.
    """
    config = plan.config
    source, obs_spec, action_spec = check_env(
        plan.source, config.phase_timeout, config.first_other_copy
    )
    parts = Architecture.of(config)
    parts.check(action_spec)
    if parts.encoder is not None:
        # imports torch, which the driver otherwise does not need
        from distpg.policy.custom import make_encoder

        make_encoder(obs_spec, parts)
    if plan.resume:
        with prefix_errors(plan.resume.origin):
            saved, _ = spaces_from_json(plan.resume.learner.spaces)
            check_readings(saved, obs_spec, plan.config)
            check_slots(source, config, plan.resume.slots)
    return dataclasses.replace(plan, source=source), (obs_spec, action_spec)


def notes(plan: Plan, config: Config, specs: tuple[ObsSpec, ActionSpec]) -> Iterator[str]:
    """Yield the lines to print before training."""
    yield from plan.notes
    for leaf in specs[0].leaves:
        yield f"observation {leaf.name}: {describe_leaf(leaf, specs[0], config)}"
    if (far := out_of_reach(specs[1], config)) is not None:
        yield f"warning: actions: {'; '.join(far)}"
    yield from unused_settings(config, *specs)
    if is_bare_atari(plan.source):
        yield f"{config.env_id} is stepped as gym.make makes it, without ALE's preprocessing"
    if config.baseline != "value":
        yield "without a critic, truncated episodes are not bootstrapped"


def train_and_save(
    plan: Plan,
    config: Config,
    workers: Workers,
    learner: LearnerProtocol,
    stop: StopCondition,
    display: "Display",
) -> dict[str, Any]:
    """Train, then write the last checkpoint, the policy and the result, and return the result."""
    # actors import this module, too, and do not need TensorBoard
    from distpg.report.tensorboard import TensorBoard

    run, say = plan.run, display.say
    progress = plan.resume.progress if plan.resume else Progress()
    clock = Clock(plan.started)
    with (
        closing(TensorBoard(run.path, config, progress, say)) as tensorboard,
        closing(Checkpointer(run, config, learner.state, workers.states, say)) as checkpointer,
    ):
        fraction = config.rollback_on_collapse
        # a rollback depends on the evaluation
        decides = config.rollback_on_collapse is not None
        evaluate = EvaluateEvery(config.eval_every, workers, stop, say, decides=decides)
        rollback = Rollback(learner, checkpointer, fraction, say) if fraction else None

        def other_faults() -> dict[str, int]:
            return {
                "eval_cut_off": evaluate.num_cut_off,
                "rollbacks": rollback.count if rollback else 0,
                "checkpoint_failures": checkpointer.failures,
            }

        faults = FaultCounter(progress.env_faults, config.max_env_faults, other_faults, say)
        # the order matters: each watcher sees the scalars of those before it
        watchers: list[Watcher] = [
            clock,
            # with overlap, a batch is not collected with what the update before it made
            *([] if config.overlap else [Improvement()]),
            faults,
            RangeWarnings(say),
            SaveAnomalies(config, run, workers.fetch, say),
            *([rollback] if rollback else []),
            checkpointer,
            tensorboard,
            display,
        ]
        overlap = plan.overlaps(config)
        clock.begin(progress)
        display.begin(progress)
        try:
            progress, reason = train_loop(
                workers, learner, stop, evaluate, watchers, progress, overlap=overlap
            )
        except RunError as error:
            result = summarize(config, clock.progress, "error", clock, None)
            result |= {**faults.summary(), **plan.summary(workers), "error": str(error)}
            # a full disk may be that error, which matters more
            with suppress(OSError):
                run.write_result(result)
            hint = f"\n{plan.resume_hint()}" if list_checkpoints(run) else ""
            raise RunError(f"{error}{hint}") from error
        state = checkpointer.save(progress)
        checkpointer.finish()
    write_atomically(run.policy, policy_bytes(state.policy, state.spaces, Architecture.of(config)))
    result = summarize(config, progress, reason, clock, state)
    result |= {**faults.summary(), **plan.summary(workers)}
    run.write_result(result)
    return result


def announce(display: "Display", plan: Plan, result: dict[str, Any]) -> None:
    """Print how the run ended, and suggested next commands."""
    display.say(plan.headline(result))
    for line in next_steps(plan.run, result):
        display.say(line)
    display.say(plan.resume_hint(*continue_flags(result)))


@contextmanager
def workers_and_learner(
    plan: Plan, specs: tuple[ObsSpec, ActionSpec], display: "Display"
) -> Generator[tuple[Workers, LearnerProtocol, Config]]:
    """Context manager: see `Plan.workers_and_learner`."""
    config = plan.config.resolved()
    states = plan.resume.slots if plan.resume else ()
    with ExitStack() as stack:
        if config.num_workers == 0:
            from distpg.learner.learner import Learner
            from distpg.rollout.in_process import InProcessWorkers

            learner = Learner(config, *specs)
            learner.compile({}, display.say)
            workers = InProcessWorkers(config, plan.source, states)
            stack.push(closing_workers(workers, display.say))
        else:
            from distpg.actors.cluster import check_travels, ray_session

            check_travels(plan.source)
            stack.enter_context(ray_session(config, display.say))
            from distpg.actors.learner import RayLearner
            from distpg.actors.restarts import Restarts
            from distpg.actors.workers import RayWorkers

            restarts = Restarts(config.max_restarts, display.say)
            # the learner comes first: when memory runs out, Ray kills the newest process
            learner = RayLearner(config, *specs, restarts)
            stack.callback(learner.close)
            workers = RayWorkers(config, plan.source, restarts, states)
            stack.push(closing_workers(workers, display.say))
            learner.attach(workers)
            # takes a while, in which the processes start
            importlib.import_module("distpg.report.tensorboard")
            workers.wait_until_ready()
        placement = learner.placement()
        if plan.resume:
            with prefix_errors(plan.resume.origin):
                learner.load(plan.resume.learner)
        elif plan.start_from:
            with prefix_errors(f"--init-from {config.init_from}"):
                learner.start_from(plan.start_from)
        yield workers, learner, dataclasses.replace(config, **placement._asdict())


@contextmanager
def interruptible(stop: StopCondition, display: "Display") -> Generator[None]:
    """Context manager: a signal stops the run after the iteration, a second one at once."""

    def handle(number: int, frame: object) -> None:
        if stop.signal is not None:
            interrupt(number, frame)
        stop.signal = number
        display.interject("stopping after this iteration; signal again to abort immediately")

    with handle_signals(handle):
        yield
