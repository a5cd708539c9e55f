"""Which trials are given up at a rung, as Optuna's pruners decide."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from distpg.config.settings import CountOrZero
from distpg.config.values import Range, did_you_mean, make_from_toml, one_of
from distpg.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Median:
    """Prunes a trial whose best rung so far is below the median of finished ones at this rung."""

    kind: ClassVar[str] = "median"
    startup_trials: CountOrZero = 4
    """Trials that must be finished before one is pruned."""

    def step(self, rung: int) -> int:
        """Return by which number Optuna knows a rung, counted from 0."""
        return rung + 1

    def make(self, pruners: Any) -> Any:
        """Make the pruner, of the module `optuna.pruners`."""
        return pruners.MedianPruner(n_startup_trials=self.startup_trials)


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Prunes a trial that is not in the best 1 / `reduction_factor` of those at the same rung.

    Asynchronous successive halving (Li et al. 2020, A system for massively parallel hyperparameter
    tuning): a trial is compared with those that have reached the rung so far.
    """

    kind: ClassVar[str] = "halving"
    reduction_factor: Annotated[int, Range(2, 100)] = 3

    def step(self, rung: int) -> int:
        """Return by which number Optuna knows a rung, counted from 0."""
        return self.reduction_factor**rung

    def make(self, pruners: Any) -> Any:
        """Make the pruner, of the module `optuna.pruners`."""
        return pruners.SuccessiveHalvingPruner(
            min_resource=1, reduction_factor=self.reduction_factor
        )


Pruner = Median | Halving
KINDS: dict[str, type[Pruner]] = {kind.kind: kind for kind in (Median, Halving)}


def pruner_of(written: dict[str, Any]) -> Pruner:
    """Make a pruner of TOML values.

    Raises:
        InputError: there is no such pruner, or it has no such key or value.
    """
    kind = written.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        hint = did_you_mean(str(kind), KINDS)
        raise InputError(f"kind: {kind!r} is not a pruner; choose from {one_of(KINDS)}{hint}")
    return make_from_toml(KINDS[kind], {key: x for key, x in written.items() if key != "kind"})
