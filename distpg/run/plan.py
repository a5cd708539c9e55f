"""What defines a run before it starts, and the workers and the learner that it starts."""

import dataclasses
import importlib
import time
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import InputError, prefix_errors
from distpg.records import LearnerState
from distpg.report.numbers import format_return
from distpg.report.watcher import Watcher
from distpg.rollout.attributes import EnvAttributes
from distpg.rollout.closing import closing_workers
from distpg.rollout.player import Player
from distpg.run.checkpoint import Checkpoint
from distpg.run.directory import RunDir
from distpg.run.summary import command_line
from distpg.spaces import ActionSpec, ObsSpec
from distpg.train import LearnerProtocol, StopCondition, Workers

if TYPE_CHECKING:
    from distpg.report.display import Display


class RunWorkers(Workers, Player, Protocol):
    """The workers of a run, which also play episodes that are not trained on."""


@dataclass(frozen=True)
class Plan:
    """Everything that defines a run before it starts."""

    config: Config
    source: EnvSource
    run: RunDir
    overwrite: bool = False
    quiet: bool = False
    json_lines: bool = False
    """Print JSON instead of text."""
    start_from: LearnerState | None = None
    """Networks of another run to start from."""
    resume: Checkpoint | None = None
    """Checkpoint to resume from."""
    watchers: Mapping[str, Watcher] = dataclasses.field(default_factory=dict[str, Watcher])
    """Watchers from the user, by name."""
    attributes: EnvAttributes = dataclasses.field(default_factory=EnvAttributes)
    """What they set in the environments."""
    notes: tuple[str, ...] = ()
    """Lines to print when the run starts."""
    started: float = dataclasses.field(default_factory=time.time)
    """Unix time from which the times in the result are counted."""

    def __post_init__(self) -> None:
        """Check what is to be printed.

        Raises:
            InputError: both nothing and JSON.
        """
        if self.quiet and self.json_lines:
            raise InputError("--json-lines: --quiet prints nothing; omit one of them")

    def display(self) -> "Display":
        """Create the progress display."""
        from distpg.report.display import Display

        return Display(self.config, quiet=self.quiet, json_lines=self.json_lines)

    def workers_and_learner(
        self, specs: tuple[ObsSpec, ActionSpec], display: "Display"
    ) -> AbstractContextManager[tuple[RunWorkers, LearnerProtocol, Config]]:
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


@contextmanager
def workers_and_learner(
    plan: Plan, specs: tuple[ObsSpec, ActionSpec], display: "Display"
) -> Generator[tuple[RunWorkers, LearnerProtocol, Config]]:
    """Context manager: see `Plan.workers_and_learner`."""
    config = plan.config.resolved()
    states = plan.resume.slots if plan.resume else ()
    with ExitStack() as stack:
        if config.num_workers == 0:
            display.phase("preparing the learner")
            from distpg.learner.learner import Learner
            from distpg.rollout.in_process import InProcessWorkers

            learner = Learner(config, *specs)
            # before compiling, which takes long: the networks may differ
            take_state(plan, learner)
            learner.compile({}, display.say)
            placement = learner.placement()
            display.phase("making the environments")
            workers = InProcessWorkers(config, plan.source, states, plan.attributes)
            stack.push(closing_workers(workers, display.say))
            display.collected_by(workers)
        else:
            display.phase(f"joining Ray at {config.address}" if config.address else "starting Ray")
            from distpg.actors.cluster import check_travels, ray_session

            check_travels(plan.source, config)
            stack.enter_context(ray_session(config, display.say))
            from distpg.actors.learner import RayLearner
            from distpg.actors.placement import EVALUATOR, LEARNER, Places
            from distpg.actors.restarts import Restarts
            from distpg.actors.workers import RayWorkers

            others = [LEARNER, *[EVALUATOR] * bool(config.eval_every)]
            places = Places(config, display.say, others)
            stack.callback(places.close)
            places.reserve()
            restarts = Restarts(config.max_restarts, display.faults)
            # the learner comes first: when memory runs out, Ray kills the newest process
            learner = RayLearner(config, *specs, places, restarts)
            stack.callback(learner.close)
            workers = RayWorkers(config, plan.source, places, restarts, states, plan.attributes)
            stack.push(closing_workers(workers, display.say))
            learner.attach(workers)
            display.collected_by(workers)
            display.phase(workers.waiting)
            # takes a while, in which the processes start
            importlib.import_module("distpg.report.tensorboard")
            workers.wait_until_ready()
            display.phase("waiting for the learner")
            placement = learner.placement()
            take_state(plan, learner)
        yield workers, learner, dataclasses.replace(config, **placement._asdict())


def take_state(plan: Plan, learner: LearnerProtocol) -> None:
    """Have the learner go on from where a run stopped, or from another run's networks.

    Raises:
        InputError: they are of other networks.
    """
    if plan.resume:
        with prefix_errors(plan.resume.origin):
            learner.load(plan.resume.learner)
    elif plan.start_from:
        with prefix_errors(f"--init-from {plan.config.init_from}"):
            learner.start_from(plan.start_from)
