"""One run from configuration to result: puts the parts together and takes them down again."""

import dataclasses
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distpg.checkpoint import Checkpoint, list_checkpoints
from distpg.checkpointer import Checkpointer
from distpg.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import RunError, concerning
from distpg.idle import idle_settings
from distpg.policy.architecture import Architecture
from distpg.policy.file import policy_bytes
from distpg.progress import Progress
from distpg.records import LearnerState
from distpg.report.clock import Clock
from distpg.report.ending import command_line, past_its_end, summarize, where_to_look
from distpg.report.evaluation import EvaluateEvery
from distpg.report.improvement import Improvement
from distpg.report.ledger import Ledger
from distpg.run_dir import RunDir, write_whole
from distpg.safeguard import Rollback, Safeguard
from distpg.signals import at_once, handled, held_back
from distpg.spaces import ActionSpec, ObsSpec
from distpg.train import Stop, Watcher, train_loop
from distpg.trial import check_slots, try_out

if TYPE_CHECKING:
    from distpg.report.display import Display


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    run_dir: Path
    result: dict[str, Any]
    """What `result.json` holds."""
    signal: int | None
    """The signal that ended the run, if one did."""


@dataclass(frozen=True)
class Plan:
    """A run before it starts."""

    config: Config
    source: EnvSource
    run: RunDir
    overwrite: bool = False
    quiet: bool = False
    start_from: LearnerState | None = None
    """Networks of another run."""
    resume: Checkpoint | None = None
    notes: tuple[str, ...] = ()
    """What is to be said when the run starts."""
    started: float = dataclasses.field(default_factory=time.time)
    """Unix time from which the result's seconds are counted."""

    def display(self) -> "Display":
        """Make what a person sees of the run."""
        from distpg.report.display import Display

        return Display(self.config, quiet=self.quiet)

    def partners(
        self, specs: tuple[ObsSpec, ActionSpec], display: "Display"
    ) -> AbstractContextManager[tuple[Any, Any, Config]]:
        """Have the loop's two partners within a block, and the configuration that they resolved."""
        return partners(self, specs, display)

    def stop(self, config: Config) -> Stop:
        """Return when the run ends."""
        return Stop(config)

    def summary(self, workers: Any) -> dict[str, Any]:
        """Return what the result of this kind of run tells besides."""
        return {}

    def headline(self, result: dict[str, Any]) -> str:
        """Say how the run ended."""
        mean = result["episode_return_mean"]
        score = "no episode finished" if mean is None else f"mean return {mean:.1f}"
        return (
            f"{result['stop_reason']}: {score} after {result['env_steps']:,} env steps, "
            f"{result['wall_s']:.1f} s"
        )

    def go_on(self, *changes: str) -> str:
        """Say how to go on with the run, past what ended it."""
        return f"resume it:    {command_line('resume', str(self.run.path), *changes)}"


def execute(plan: Plan) -> Outcome:
    """Run a plan to its end.

    Raises:
        InputError: something in the plan cannot be; nothing is left behind.
        RunError: the run could not go on; its checkpoints stay.
    """
    # what the driver alone needs is not imported by the actors, which import the package too
    from distpg.report.tensorboard import TensorBoard

    with ExitStack() as stack:
        # while nothing is there to be saved
        stack.enter_context(handled(at_once))
        source, obs_spec, action_spec = try_out(plan.source, plan.config.phase_timeout)
        plan, specs = dataclasses.replace(plan, source=source), (obs_spec, action_spec)
        parts = Architecture.of(plan.config)
        parts.check(action_spec)
        if parts.encoder is not None:
            # the one run whose driver imports torch
            from distpg.policy.custom import make_encoder

            make_encoder(obs_spec, parts)
        if plan.resume:
            with concerning(plan.resume.origin):
                check_slots(plan.source, plan.config, plan.resume.slots)
        # whatever keeps it from starting, no empty run directory stays
        unstarted = stack.enter_context(ExitStack())
        with held_back():
            made = [] if plan.resume else plan.run.claim(overwrite=plan.overwrite)
            unstarted.callback(plan.run.disclaim, made)
        stack.enter_context(plan.run.locked())
        display = plan.display()
        stack.callback(display.close)
        workers, learner, config = stack.enter_context(plan.partners(specs, display))
        stop = plan.stop(config)
        stack.enter_context(interruptible(stop, display))
        unstarted.pop_all()
        if plan.overwrite:
            plan.run.clear()
        plan.run.write_config(config)
        progress = plan.resume.progress if plan.resume else Progress()
        clock = Clock(plan.started)
        for note in notes(plan, config, specs):
            display.say(note)
        tensorboard = TensorBoard(plan.run.path, config, progress, display.say)
        stack.callback(tensorboard.close)
        checkpointer = Checkpointer(plan.run, config, learner.state, workers.states, display.say)
        stack.callback(checkpointer.close)
        safeguard = Safeguard(
            learner, config, plan.run, progress.iteration, workers.fetch, display.say
        )
        rollback = None
        if config.rollback_on_collapse is not None:
            share = config.rollback_on_collapse
            rollback = Rollback(safeguard, checkpointer, share, display.say)

        def failures() -> dict[str, int]:
            return {
                "worker_restarts": workers.restarts,
                "learner_restarts": learner.restarts if config.num_workers else 0,
                "lost_with_node": workers.lost_with_node,
                "reissued_slots": workers.reissued,
                "undone_updates": safeguard.undone,
                "rollbacks": rollback.count if rollback else 0,
                "checkpoint_failures": checkpointer.failures,
            }

        ledger = Ledger(failures, progress.env_faults, config.max_env_faults, display.say)
        watchers: list[Watcher] = [clock, Improvement(), ledger, tensorboard, checkpointer, display]
        if config.eval_every:
            watchers.insert(2, EvaluateEvery(config.eval_every, workers.evaluate))
        if rollback:
            # what it goes back to is what is saved
            watchers.insert(watchers.index(checkpointer), rollback)
        clock.begin(progress)
        display.begin(progress)
        try:
            progress, reason = train_loop(workers, safeguard, stop, watchers, progress)
        except RunError as error:
            hint = "" if not list_checkpoints(plan.run) else f"\n{plan.go_on()}"
            raise RunError(f"{error}{hint}") from error
        state = checkpointer.save(progress)
        checkpointer.finish()
        content = policy_bytes(state.policy, state.spaces, parts)
        write_whole(plan.run.policy, content)
        result = summarize(config, progress, reason, clock, state)
        result |= {**failures(), **ledger.summary(), **plan.summary(workers)}
        plan.run.write_result(result)
        display.close()
        announce(display, plan, result)
    return Outcome(plan.run.path, result, stop.signal)


def notes(plan: Plan, config: Config, specs: tuple[ObsSpec, ActionSpec]) -> Iterator[str]:
    """Say what should be known of a run before it starts."""
    yield from plan.notes
    yield from idle_settings(config, *specs)
    if config.compile:
        yield "the first updates compile the gradient, which takes up to a minute"
    if config.baseline != "value":
        yield "without a critic, an episode cut by a time limit is worth nothing beyond it"


def announce(display: "Display", plan: Plan, result: dict[str, Any]) -> None:
    """Tell how the run ended, and what to do with it."""
    display.say(plan.headline(result))
    for line in where_to_look(plan.run, result):
        display.say(line)
    display.say(plan.go_on(*past_its_end(result)))


@contextmanager
def partners(
    plan: Plan, specs: tuple[ObsSpec, ActionSpec], display: "Display"
) -> Generator[tuple[Any, Any, Config]]:
    """Have workers and a learner within the block, with the configuration as they resolved it."""
    config = plan.config.resolved()
    states = plan.resume.slots if plan.resume else ()
    with ExitStack() as stack:
        if config.num_workers == 0:
            from distpg.in_process import InProcessWorkers
            from distpg.learner.undo import CarefulLearner

            learner = CarefulLearner(config, *specs)
            workers = InProcessWorkers(config, plan.source, states)
            stack.callback(workers.close)
        else:
            from distpg.actors.cluster import check_travels, ray_session

            check_travels(plan.source)
            stack.enter_context(ray_session(config, display.say))
            from distpg.actors.learner import RayLearner
            from distpg.actors.restarts import Restarts
            from distpg.actors.workers import RayWorkers

            restarts = Restarts(config.max_restarts, display.say)
            # where memory runs out, Ray ends the newest process first
            learner = RayLearner(config, *specs, restarts)
            stack.callback(learner.close)
            workers = RayWorkers(config, plan.source, restarts, states)
            stack.callback(workers.close)
            learner.replay = workers.replay
            workers.wait_until_ready()
        device, threads = learner.placement()
        if plan.resume:
            with concerning(plan.resume.origin):
                learner.load(plan.resume.learner)
        elif plan.start_from:
            with concerning(f"--init-from {config.init_from}"):
                learner.start_from(plan.start_from)
        yield workers, learner, dataclasses.replace(config, device=device, learner_threads=threads)


@contextmanager
def interruptible(stop: Stop, display: "Display") -> Generator[None]:
    """Let a signal end the run after its iteration; a second one at once."""

    def handle(number: int, frame: object) -> None:
        if stop.signal is not None:
            raise KeyboardInterrupt
        stop.signal = number
        display.interject("stopping after this iteration; once more to stop at once")

    with handled(handle):
        yield
