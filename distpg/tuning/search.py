"""The search: trials begin, their seeds advance from rung to rung, and all but the best give up."""

import statistics
from collections.abc import Callable
from pathlib import Path

from distpg.config.config import Config
from distpg.errors import InputError
from distpg.many_runs.pool import Pool
from distpg.many_runs.process import Ended
from distpg.many_runs.run_files import why_lost, write_settings
from distpg.report.numbers import format_return
from distpg.run.directory import RunDir
from distpg.tuning.report import spelled, write_recipe
from distpg.tuning.rungs import TrialRun
from distpg.tuning.space import Space
from distpg.tuning.study import Study, Trial

ADVANCE = "distpg.commands.advance"
"""The program that brings a run to a rung."""


class Contender:
    """A trial under way, and its runs."""

    def __init__(self, space: Space, trial: Trial, config: Config, folder: Path) -> None:
        """Write its settings, and see how far its runs are.

        Raises:
            InputError: its folder has runs with other settings, or cannot be written.
        """
        self.space = space
        self.trial = trial
        self.stops = space.stops(config.total_steps)
        own = folder / f"trial-{trial.number}"
        settings = own / "settings.toml"
        self.runs = [TrialRun(RunDir(own / f"seed-{x}"), settings, x) for x in space.seeds]
        directories = [run.directory for run in self.runs]
        source = f"trial {trial.number} of the study"
        write_settings(config, settings, directories, ("--folder", own), source)
        self.lost: set[TrialRun] = set()
        """Runs whose processes were lost once."""
        self.num_active = 0
        """Runs whose processes are under way."""
        self.begin_rung(trial.num_rungs)

    def __str__(self) -> str:
        return f"trial {self.trial.number}"

    def begin_rung(self, rung: int) -> None:
        """Let the runs continue to a rung."""
        self.rung = rung
        self.left = [run for run in self.runs if not run.has_reached(self.env_steps)]

    @property
    def env_steps(self) -> int:
        """Those of the rung."""
        return self.stops[self.rung]

    @property
    def is_at_the_end(self) -> bool:
        """Whether there is no further rung."""
        return self.rung == len(self.stops) - 1

    @property
    def is_at_rung(self) -> bool:
        """Whether all runs are there."""
        return not self.left and self.num_active == 0

    def returns(self) -> dict[int, float]:
        """Return what each seed has reached, of those with an episode that has ended."""
        values = {run.seed: run.value(self.space.objective) for run in self.runs}
        return {seed: value for seed, value in values.items() if value is not None}


Advance = tuple[Contender, TrialRun]
"""A run on its way to the rung of its trial."""


class Search:
    """Brings a study to its end; a trial that fails does not stop the others."""

    def __init__(
        self, space: Space, study: Study, folder: Path, parallel: int, say: Callable[[str], None]
    ) -> None:
        """Initialize.

        Args:
            space: What is searched.
            study: Where the trials are kept.
            folder: Where the runs are.
            parallel: Runs at a time.
            say: Called with a line of progress.
        """
        self.space = space
        self.study = study
        self.folder = folder
        self.pool = Pool[Advance](parallel, say)
        self.say = say
        self.contenders: list[Contender] = []
        self.told: set[Path] = set()
        self.begun = self.done = 0
        """Trials that have begun, and that have ended."""

    def complete(self) -> None:
        """Run the trials that are left.

        Raises:
            InputError: the folder of a trial has runs with other settings, or cannot be written.
            KeyboardInterrupt: Ctrl-C; the runs under way are saved.
        """
        states = [record.state for record in self.study.records()]
        self.begun, self.done = len(states), sum(state != "RUNNING" for state in states)
        with self.pool.saving():
            for trial in self.study.under_way():
                self._begin(trial, "resumed")
            while True:
                self._start_more()
                if not self.contenders and not self.pool.active:
                    return
                for (contender, run), ended in self.pool.wait():
                    self._go_on_after(contender, run, ended)

    def _start_more(self) -> None:
        """Start runs: of the oldest trials first, then of new ones."""
        while not self.pool.is_full:
            if any(self._start_run(contender) for contender in self.contenders):
                continue
            if self.begun >= self.space.trials:
                return
            self.begun += 1
            self._begin(self.study.ask(), "begins")

    def _begin(self, trial: Trial, how: str) -> None:
        self.say(f"trial {trial.number} {how}: {spelled(trial.searched)}")
        try:
            config = self.space.config(trial.searched)
        except InputError as error:
            self._fail(trial, str(error))
            return
        contender = Contender(self.space, trial, config, self.folder)
        self.contenders.append(contender)
        # it may have been killed before the decision at its last rung
        if not self._prune_if_behind(contender):
            self._decide(contender)

    def _start_run(self, contender: Contender) -> bool:
        """Start one of a trial's runs that is to continue, if there is one."""
        for run in contender.left:
            if run.directory.being_written():
                self._tell_waiting(run)
                continue
            contender.left.remove(run)
            contender.num_active += 1
            if why := why_lost(run.directory):
                self.say(f"{contender}, {run}: starts from the beginning: {why}")
            self.pool.start((contender, run), run.words(contender.env_steps), ADVANCE)
            return True
        return False

    def _tell_waiting(self, run: TrialRun) -> None:
        path = run.directory.given
        if path not in self.told:
            self.told.add(path)
            self.say(f"waiting for the process that writes {path}")

    def _go_on_after(self, contender: Contender, run: TrialRun, ended: Ended) -> None:
        contender.num_active -= 1
        if contender not in self.contenders:
            # it has failed, and this run was interrupted
            return
        if ended.code != 0 or not run.has_reached(contender.env_steps):
            why = ended.error or f"it ended with exit code {ended.code}"
            if ended.was_lost and run not in contender.lost:
                contender.lost.add(run)
                contender.left.append(run)
                self.say(f"{contender}, {run}: tried once more: {why.removeprefix('distpg: ')}")
                return
            self.contenders.remove(contender)
            self.pool.interrupt(lambda advance: advance[0] is contender)
            self._fail(contender.trial, f"{run}: {why.removeprefix('distpg: ')}")
            return
        self._decide(contender)

    def _decide(self, contender: Contender) -> None:
        """Prune, finish or let a trial continue, if all of its runs are at the rung."""
        while contender.is_at_rung:
            returns = contender.returns()
            known = len(returns) == len(contender.runs)
            mean = statistics.fmean(returns.values()) if known else None
            if contender.is_at_the_end:
                self._finish(contender, mean)
                return
            if mean is not None:
                contender.trial.report(contender.rung, mean)
                if self._prune_if_behind(contender):
                    return
            contender.begin_rung(contender.rung + 1)

    def _prune_if_behind(self, contender: Contender) -> bool:
        """Give a trial up, if its mean at its last rung says so; return whether."""
        if not contender.trial.is_behind():
            return False
        self.contenders.remove(contender)
        contender.trial.prune()
        env_steps = contender.stops[contender.trial.num_rungs - 1]
        value = self.study.records()[contender.trial.number].value
        assert value is not None, "a trial is pruned by its value at a rung"
        mean = format_return(value)
        self._tell_end(contender.trial, f"pruned at {env_steps:,} env steps, mean return {mean}")
        return True

    def _finish(self, contender: Contender, mean: float | None) -> None:
        self.contenders.remove(contender)
        if mean is None:
            self._fail(contender.trial, f"not every seed has a return, {self.space.objective}")
            return
        contender.trial.finish(mean, contender.returns())
        best = self.study.best()
        is_best = best is not None and best.number == contender.trial.number
        self._tell_end(
            contender.trial,
            f"finished, mean return {format_return(mean)}{', the best so far' * is_best}",
        )

    def _fail(self, trial: Trial, why: str) -> None:
        trial.fail(why)
        self._tell_end(trial, f"failed: {why}")

    def _tell_end(self, trial: Trial, how: str) -> None:
        if self.study.best() is not None:
            write_recipe(self.space, self.study, self.folder)
        self.done += 1
        self.say(f"[{self.done}/{self.space.trials}] trial {trial.number} {how}")
