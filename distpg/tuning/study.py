"""The study in Optuna: which settings a trial gets, what it reached, whether it is given up.

It is kept in a SQLite file after each step, so that it continues after a kill.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from distpg.errors import InputError
from distpg.extras import import_extra
from distpg.tuning.dimensions import Choice, Dimension
from distpg.tuning.space import Space

State = Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL"]
"""Of a trial, in Optuna's words."""

NAME = "distpg"
"""Of the study in its file, whatever the file of the space is called."""


def import_optuna() -> Any:
    """Import Optuna.

    Raises:
        InputError: it is not installed.
    """
    return import_extra("optuna", "tune", needed_by="tune")


@dataclass(frozen=True)
class TrialRecord:
    """What a study knows of a trial."""

    number: int
    state: State
    value: float | None
    """Mean return over seeds: at the end, or of a pruned trial at its last rung."""
    searched: Mapping[str, Any]
    """The values of the settings that are searched."""
    returns: Mapping[str, float]
    """Of each seed, once it is finished."""
    error: str
    """Why it failed, if it did."""


class Trial:
    """A trial under way."""

    def __init__(self, space: Space, trial: Any) -> None:
        """Let Optuna choose the values of the settings, unless it has."""
        self.space = space
        self.trial = trial
        self.number: int = trial.number
        self.searched = {name: suggest(trial, x) for name, x in space.dimensions.items()}

    @property
    def num_rungs(self) -> int:
        """Rungs that the trial has passed, or was given up at."""
        values = self.trial.study.trials[self.number].intermediate_values
        steps = [self.space.pruner.step(rung) for rung in range(len(self.space.rungs))]
        return max((rung + 1 for rung, step in enumerate(steps) if step in values), default=0)

    def report(self, rung: int, mean: float) -> None:
        """Keep the mean return at a rung, counted from 0."""
        self.trial.report(mean, self.space.pruner.step(rung))

    def is_behind(self) -> bool:
        """Return whether to give the trial up, as decided once after the last rung it reported."""
        if not self.num_rungs:
            return False
        key = f"behind_at_rung_{self.num_rungs}"
        decided = self.trial.user_attrs.get(key)
        if decided is None:
            decided = bool(self.trial.should_prune())
            self.trial.set_user_attr(key, decided)
        return decided

    def finish(self, mean: float, returns: Mapping[int, float]) -> None:
        """Keep what it reached at the end."""
        self.trial.set_user_attr("returns", {str(seed): x for seed, x in returns.items()})
        self.trial.study.tell(self.trial, mean)

    def prune(self) -> None:
        """Keep that it was given up."""
        self.trial.study.tell(self.trial, state=states().PRUNED)

    def fail(self, why: str) -> None:
        """Keep that it failed."""
        self.trial.set_user_attr("error", why)
        self.trial.study.tell(self.trial, state=states().FAIL)


class Study:
    """All trials of a space."""

    def __init__(self, space: Space, file: Path) -> None:
        """Open the study in a SQLite file, or create it.

        Raises:
            InputError: Optuna is missing, or the file cannot be used.
        """
        self.space = space
        self.optuna = import_optuna()
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        try:
            self.study = self.optuna.create_study(
                storage=f"sqlite:///{file}",
                study_name=NAME,
                direction="maximize",
                pruner=space.pruner.make(self.optuna.pruners),
                load_if_exists=True,
            )
        # SQLAlchemy, Alembic and SQLite have their own
        except Exception as error:
            reason = " ".join(str(error).split())
            raise InputError(f"--folder: {file} cannot be used: {reason}") from error

    def ask(self) -> Trial:
        """Begin a trial, whose settings depend on those before it, the seed and its number."""
        self._seed_sampler(len(self.study.trials))
        return Trial(self.space, self.study.ask())

    def _seed_sampler(self, number: int) -> None:
        """Let what is chosen next depend on the number of the trial."""
        seeds = np.random.SeedSequence([self.space.sampler_seed, number])
        (seed,) = seeds.generate_state(1)
        self.study.sampler = self.optuna.samplers.TPESampler(seed=int(seed))

    def under_way(self) -> list[Trial]:
        """Return the trials that have begun and not ended."""
        found: list[Trial] = []
        for x in self.study.get_trials(states=(states().RUNNING,)):
            # it may have been killed before all of its settings were chosen
            self._seed_sampler(x.number)
            found.append(Trial(self.space, self.optuna.trial.Trial(self.study, x._trial_id)))
        return found

    def records(self) -> list[TrialRecord]:
        """Return what is known of each trial."""
        return [record_of(self.space, trial) for trial in self.study.trials]

    def best(self) -> TrialRecord | None:
        """Return the trial that is finished and reached most."""
        found = [x for x in self.records() if x.state == "COMPLETE" and x.value is not None]
        return max(found, key=lambda x: x.value or 0.0, default=None)


def states() -> Any:
    """Return Optuna's states of a trial."""
    return import_optuna().trial.TrialState


def suggest(trial: Any, dimension: Dimension) -> Any:
    """Return the value of a setting in a trial: chosen once, the same from then on."""
    if isinstance(dimension, Choice):
        spelled = dimension.spelled
        chosen = trial.suggest_categorical(dimension.name, spelled)
        return dimension.values[spelled.index(chosen)]
    limits = dimension.limits
    if dimension.is_whole:
        return trial.suggest_int(dimension.name, limits.low, limits.high, log=limits.log)
    return trial.suggest_float(dimension.name, limits.low, limits.high, log=limits.log)


def record_of(space: Space, trial: Any) -> TrialRecord:
    """Return what is known of a trial, of Optuna's `FrozenTrial`."""
    searched: dict[str, Any] = {}
    for name, value in trial.params.items():
        x = space.dimensions[name]
        searched[name] = x.values[x.spelled.index(value)] if isinstance(x, Choice) else value
    last = trial.intermediate_values.get(trial.last_step)
    value = trial.value if trial.state == states().COMPLETE else last
    return TrialRecord(
        number=trial.number,
        state=trial.state.name,
        value=value,
        searched=searched,
        returns=trial.user_attrs.get("returns", {}),
        error=trial.user_attrs.get("error", ""),
    )
