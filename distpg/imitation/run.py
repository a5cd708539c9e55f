"""Imitation as a run: replaces the workers, the learner and the stop condition."""

import dataclasses
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distpg.config.config import Config
from distpg.errors import prefix_errors
from distpg.imitation.cloner import Cloner
from distpg.imitation.display import RoundDisplay
from distpg.imitation.expert import Expert, ImitationContext, RoundWorkers
from distpg.imitation.rounds import AfterRounds, Rounds
from distpg.report.numbers import format_return
from distpg.rollout.closing import closing_workers
from distpg.rollout.in_process import InProcessWorkers
from distpg.run.plan import Plan
from distpg.run.summary import command_line
from distpg.spaces import ActionSpec, ObsSpec

if TYPE_CHECKING:
    from distpg.report.display import Display


@dataclass(frozen=True, kw_only=True)
class Imitation(Plan):
    """A run that learns from an expert."""

    expert: Expert
    expert_rounds: int
    dagger_rounds: int

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return self.expert_rounds + self.dagger_rounds

    def display(self) -> RoundDisplay:
        """Return the display: one line per round."""
        return RoundDisplay(
            self.config,
            self.expert_rounds,
            self.rounds,
            quiet=self.quiet,
            json_lines=self.json_lines,
        )

    def stop(self, config: Config) -> AfterRounds:
        """Return the stop condition: after the last round."""
        return AfterRounds(config.total_steps, num_rounds=self.rounds)

    def overlaps(self, config: Config) -> bool:
        """Return False: a round is collected after the update on the one before."""
        return False

    @contextmanager
    def workers_and_learner(
        self, specs: tuple[ObsSpec, ActionSpec], display: "Display"
    ) -> Generator[tuple[Rounds, Cloner, Config]]:
        """Context manager: the rounds, the cloner, and the configuration as they resolved it.

        The cloner runs in this process even if workers do not, since the expert may be any Python
        callable and needs all rollouts.
        """
        config = self.config.resolved()
        with ExitStack() as stack:
            display.phase("preparing the student")
            cloner = Cloner(config, *specs, num_rounds=self.rounds)
            if self.start_from:
                with prefix_errors(f"--init-from {config.init_from}"):
                    cloner.start_from(self.start_from)
            self.expert.check(self.source, cloner.policy)
            # evaluations run in this process
            acting = dataclasses.replace(
                config, eval_every=0, rollback_on_collapse=None, stop_at_eval_return=None
            )
            make = self._worker_factory(stack, acting, display)
            context = ImitationContext(
                acting, self.source, cloner.policy, self.expert_rounds, make, self.attributes
            )
            display.phase("making the environments")
            workers = Rounds(self.expert, context, evaluates=config.eval_every > 0)
            stack.push(closing_workers(workers, display.say))
            resolved = dataclasses.replace(config, **cloner.placement()._asdict())
            yield workers, cloner, resolved

    def _worker_factory(
        self, stack: ExitStack, config: Config, display: "Display"
    ) -> Callable[[Config], RoundWorkers]:
        """Return a function that starts rollout workers; start Ray if they need it."""
        if not config.num_workers or not (self.dagger_rounds or self.expert.by_workers):

            def make_here(settings: Config) -> InProcessWorkers:
                workers = InProcessWorkers(settings, self.source, (), self.attributes)
                display.collected_by(workers)
                return workers

            return make_here
        display.phase(f"joining Ray at {config.address}" if config.address else "starting Ray")
        from distpg.actors.cluster import check_travels, ray_session

        check_travels(self.source, config)
        stack.enter_context(ray_session(config, display.say))
        from distpg.actors.fetching import FetchingWorkers
        from distpg.actors.placement import Places
        from distpg.actors.restarts import Restarts

        # the learner is in this process
        places = Places(config, display.say, others=())
        stack.callback(places.close)
        places.reserve()
        restarts = Restarts(config.max_restarts, display.faults)

        def make(settings: Config) -> FetchingWorkers:
            workers = FetchingWorkers(settings, self.source, places, restarts, (), self.attributes)
            display.collected_by(workers)
            display.phase(workers.waiting)
            try:
                workers.wait_until_ready()
            except BaseException:
                workers.close()
                raise
            display.phase("")
            return workers

        return make

    def summary(self, workers: Rounds) -> dict[str, Any]:
        """Return the keys of the result that a training run does not have."""
        returns = workers.expert_returns
        return {
            "expert": self.expert.name,
            "expert_rounds": self.expert_rounds,
            "dagger_rounds": self.dagger_rounds,
            "labels": workers.num_labels,
            "expert_return": sum(returns) / len(returns) if returns else None,
        }

    def headline(self, result: dict[str, Any]) -> str:
        """Return one line on how the run ended."""
        parts = [f"{result['stop_reason']}: {result['labels']:,} labels"]
        if result["evaluation"] is not None:
            parts.append(f"evaluation {format_return(result['evaluation']['return_mean'])}")
        if result["expert_return"] is not None:
            parts.append(f"expert return {format_return(result['expert_return'])}")
        return "; ".join([*parts, f"{result['wall_s']:.1f} s"])

    def resume_hint(self, *changes: str) -> str:
        """Return the command that continues with reinforcement learning from this run."""
        given = self.run.given
        words = ("train", "--config", str(given / "config.toml"), "--init-from", str(given))
        return f"continue:     {command_line(*words)}"
