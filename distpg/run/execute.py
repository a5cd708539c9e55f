"""Execute a run: set-up, training, result and clean-up."""

import dataclasses
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distpg.config.config import Config
from distpg.envs.make import is_bare_atari
from distpg.envs.rendering import check_frames, render_off_screen
from distpg.errors import RunError, prefix_errors
from distpg.policy.architecture import Architecture
from distpg.policy.file import policy_bytes
from distpg.policy.reach import out_of_reach
from distpg.policy.readings import check_readings, describe_leaf
from distpg.progress import Progress
from distpg.report.clock import Clock
from distpg.report.fault_events import FaultEvents
from distpg.report.faults import FaultCounter
from distpg.run.checkpoint import list_checkpoints
from distpg.run.directory import write_atomically
from distpg.run.evaluations import LastEvaluation
from distpg.run.plan import Plan, RunWorkers
from distpg.run.preflight import check_env, check_slots
from distpg.run.summary import continue_flags, next_steps, summarize
from distpg.run.unused_settings import unused_settings
from distpg.run.watchers import load_counts, run_watchers
from distpg.signals import defer_signals, handle_signals, interrupt
from distpg.spaces import ActionSpec, ObsSpec, spaces_from_json
from distpg.train import LearnerProtocol, StopCondition, train_loop

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


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a run after its iteration, with everything saved."""

    def __init__(self, outcome: Outcome) -> None:
        """Store how the run ended."""
        super().__init__(f"the run in {outcome.run_dir} was stopped and is saved")
        self.outcome = outcome


def to_caller(outcome: Outcome) -> Outcome:
    """Return an outcome to Python code, unless Ctrl-C was meant for that, too.

    Raises:
        Interrupted: Ctrl-C ended the run.
    """
    if outcome.signal == signal.SIGINT:
        raise Interrupted(outcome)
    return outcome


def exit_code_of(run: Callable[[], Outcome]) -> int:
    """Return the exit code of a command that executes a run."""
    try:
        return run().exit_code
    except Interrupted as interrupted:
        return interrupted.outcome.exit_code


def execute(plan: Plan) -> Outcome:
    """Run a plan to its end.

    Raises:
        InputError: the plan is invalid; nothing was created.
        RunError: the run could not continue; its checkpoints are kept.
    """
    with ExitStack() as stack:
        # until training starts there is nothing to save
        stack.enter_context(handle_signals(interrupt))
        display = plan.display()
        stack.callback(display.close)
        display.phase(f"trying {plan.source.name}")
        plan, specs = check_plan(plan)
        # removes an empty run directory if the run does not start
        unstarted = stack.enter_context(ExitStack())
        with defer_signals():
            created = [] if plan.resume else plan.run.claim(overwrite=plan.overwrite)
            unstarted.callback(plan.run.undo_claim, created)
        stack.enter_context(plan.run.locked())
        workers, learner, config = stack.enter_context(plan.workers_and_learner(specs, display))
        stop = plan.stop(config)
        stack.enter_context(interruptible(stop, display))
        unstarted.pop_all()
        if plan.overwrite:
            plan.run.clear()
        plan.run.write_config(config)
        display.log.open(plan.run.log)
        for note in notes(plan, config, specs):
            display.say(note)
        try:
            result = train_and_save(plan, config, workers, learner, stop, display)
        except RunError as error:
            display.log.write(f"error: {error}")
            raise
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
    if config.video_every:
        render_off_screen()
    source, obs_spec, action_spec = check_env(
        plan.source, config.phase_timeout, config.first_other_copy
    )
    if config.video_every:
        with prefix_errors("--video-every"):
            check_frames(source, config.first_other_copy)
    parts = Architecture.of(config)
    parts.check(obs_spec, action_spec)
    if parts.encoder is not None:
        # imports torch, which the driver otherwise does not need
        from distpg.policy.custom import make_encoder

        make_encoder(obs_spec, parts)
    if plan.resume:
        with prefix_errors(plan.resume.origin):
            saved, _ = spaces_from_json(plan.resume.learner.spaces)
            check_readings(saved, obs_spec, plan.config)
            check_slots(source, config, plan.resume.slots)
            faults = FaultCounter(0, 0, dict, FaultEvents(print))
            states = dict(plan.resume.watchers)
            load_counts(states, clock=Clock(0.0), faults=faults, evaluations=LastEvaluation())
    return dataclasses.replace(plan, source=source), (obs_spec, action_spec)


def notes(plan: Plan, config: Config, specs: tuple[ObsSpec, ActionSpec]) -> Iterator[str]:
    """Yield the lines to print before training."""
    yield from plan.notes
    for leaf in specs[0].leaves:
        yield f"observation {leaf.name}: {describe_leaf(leaf, specs[0], config)}"
    if (far := out_of_reach(specs[1], config)) is not None:
        yield f"warning: actions: {'; '.join(far)}"
    yield from unused_settings(config, *specs, plan.watchers.values())
    if is_bare_atari(plan.source):
        yield f"{config.env_id} is stepped as gym.make makes it, without ALE's preprocessing"
    if config.baseline != "value":
        yield "without a critic, truncated episodes are not bootstrapped"


def train_and_save(
    plan: Plan,
    config: Config,
    workers: RunWorkers,
    learner: LearnerProtocol,
    stop: StopCondition,
    display: "Display",
) -> dict[str, Any]:
    """Train, then write the last checkpoint, the policy and the result, and return the result."""
    run, progress = plan.run, plan.resume.progress if plan.resume else Progress()
    with run_watchers(plan, config, workers, learner, stop, display) as watchers:
        try:
            watchers.begin()
            progress, reason = train_loop(
                workers,
                learner,
                stop,
                watchers.evaluations,
                watchers.in_order,
                progress,
                overlap=plan.overlaps(config),
            )
            state = watchers.checkpointer.save(progress)
            watchers.finish(progress)
        except RunError as error:
            # what could not be written is told, too
            with suppress(RunError):
                watchers.checkpointer.finish()
            display.faults.record("error", str(error))
            result = summarize(config, watchers.clock.progress, "error", watchers.clock, None)
            result |= {**watchers.summary(), **plan.summary(workers), "error": str(error)}
            # a full disk may be that error, which matters more
            with suppress(OSError):
                run.write_result(result)
            watchers.end(result)
            display.result(str(run.given), result)
            hint = f"\n{plan.resume_hint()}" if list_checkpoints(run) else ""
            raise RunError(f"{error}{hint}") from error
        watchers.checkpointer.finish()
        policy = policy_bytes(state.policy, state.spaces, Architecture.of(config))
        write_atomically(run.policy, policy)
        reason = "error" if stop.error else reason
        result = summarize(config, progress, reason, watchers.clock, state)
        result |= {**watchers.summary(), **plan.summary(workers)}
        if stop.error:
            display.faults.record("error", stop.error)
            result["error"] = stop.error
        run.write_result(result)
        watchers.end(result)
    if stop.error:
        display.result(str(run.given), result)
        raise RunError(f"{stop.error}\n{plan.resume_hint()}")
    return result


def announce(display: "Display", plan: Plan, result: dict[str, Any]) -> None:
    """Print how the run ended, and suggested next commands."""
    display.say(plan.headline(result))
    for line in next_steps(plan.run, result):
        display.say(line)
    display.say(plan.resume_hint(*continue_flags(result)))
    display.result(str(plan.run.given), result)


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
