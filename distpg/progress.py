"""Progress of a run: counters, and the returns and lengths of the last 100 episodes."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from dataclasses import fields as fields_of
from itertools import chain
from typing import Any, Self

from distpg.config.values import check_fields
from distpg.errors import InputError, RunError
from distpg.records import RolloutStats

WINDOW = 100
"""Number of episodes in the reported mean return and length."""
MAX_METRICS = 200
"""Names that an environment may report."""


@dataclass(frozen=True)
class Progress:
    """The counters of a run, kept by the driver."""

    iteration: int = 0
    env_steps: int = 0
    """Valid transitions, each trained on once."""
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    """Transitions simulated but not trained on, by reason."""
    env_faults: int = 0
    """Exceptions that environments raised; each drops an episode."""
    last_fault: str | None = None
    """The last of these exceptions, and where it was raised."""
    rolled_back_updates: int = 0
    """Updates that produced NaN or inf, and were rolled back."""
    episodes: int = 0
    batch_return: float | None = None
    """Mean return of the episodes that finished in the last iteration, or None."""
    returns: tuple[float, ...] = ()
    """Undiscounted returns of the last finished episodes, at most 100, newest last."""
    lengths: tuple[int, ...] = ()
    """Their lengths in env steps."""
    metrics: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    """By name, what the env reported of the last episodes of which it did, at most 100."""

    def after(self, slots: Sequence[RolloutStats], *, rolled_back: bool = False) -> Self:
        """Return the progress after one more iteration, given its statistics in slot order."""
        returns = [float(value) for slot in slots for value in slot.episode_returns]
        lengths = [int(length) for slot in slots for length in slot.episode_lengths]
        faults = [fault for slot in slots for fault in slot.faults]
        collected = sum(slot.env_steps for slot in slots)
        faulted = sum(slot.faulted_steps for slot in slots)
        surplus = sum(slot.dropped_steps for slot in slots) - faulted
        dropped = {
            "env_fault": faulted,
            "after_episodes": surplus,
            "anomaly": collected * rolled_back,
        }
        return replace(
            self,
            iteration=self.iteration + 1,
            env_faults=self.env_faults + len(faults),
            last_fault=faults[-1] if faults else self.last_fault,
            rolled_back_updates=self.rolled_back_updates + rolled_back,
            env_steps=self.env_steps + collected * (not rolled_back),
            dropped=self._with(dropped),
            episodes=self.episodes + len(returns),
            batch_return=sum(returns) / len(returns) if returns else None,
            returns=(*self.returns, *returns)[-WINDOW:],
            lengths=(*self.lengths, *lengths)[-WINDOW:],
            metrics=self._with_metrics(slots),
        )

    def _with_metrics(self, slots: Sequence[RolloutStats]) -> dict[str, tuple[float, ...]]:
        fresh: dict[str, list[float]] = {}
        for reported in chain(*(slot.reported for slot in slots)):
            for name, value in reported.items():
                fresh.setdefault(name, []).append(value)
        found = {
            **self.metrics,
            **{
                name: (*self.metrics.get(name, ()), *values)[-WINDOW:]
                for name, values in fresh.items()
            },
        }
        if len(found) > MAX_METRICS:
            raise RunError(
                f"environments have reported metrics by {len(found)} names, the last "
                f"{[*found][-1]!r}; at most {MAX_METRICS} are kept"
            )
        return found

    def dropping(self, slots: Sequence[RolloutStats]) -> Self:
        """Return the progress with rollouts counted as dropped because the run stops."""
        ahead = sum(slot.env_steps + slot.dropped_steps for slot in slots)
        return replace(self, dropped=self._with({"stopped": ahead}))

    def _with(self, dropped: Mapping[str, int]) -> dict[str, int]:
        sums = {reason: self.dropped.get(reason, 0) + steps for reason, steps in dropped.items()}
        return {**self.dropped, **sums}

    @property
    def dropped_steps(self) -> int:
        """Transitions simulated but not trained on."""
        return sum(self.dropped.values())

    @property
    def mean_return(self) -> float | None:
        """Mean return of the last 100 episodes, or None before the first has finished."""
        return sum(self.returns) / len(self.returns) if self.returns else None

    @property
    def mean_length(self) -> float | None:
        """Mean length of the last 100 episodes in env steps, or None."""
        return sum(self.lengths) / len(self.lengths) if self.lengths else None

    def scalars(self) -> dict[str, float]:
        """Summarize the last 100 episodes, once there is one, by TensorBoard tag."""
        if not self.returns:
            return {}
        means = {
            metric_tag("rollout", name): sum(values) / len(values)
            for name, values in self.metrics.items()
        }
        length = {"rollout/ep_len_mean": sum(self.lengths) / len(self.lengths)}
        return means | summary_of("rollout/ep_rew_", self.returns) | length

    def reached(self, threshold: float | None) -> bool:
        """Return whether the mean return of a full window of episodes reaches the threshold."""
        mean = self.mean_return
        full = len(self.returns) == WINDOW
        return threshold is not None and mean is not None and full and mean >= threshold

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what `to_json` returned.

        Raises:
            InputError: a field is missing, has the wrong type or is out of range.
            AttributeError, KeyError, TypeError, ValueError: this is not serialized progress.
        """
        lists = {key: tuple(values[key]) for key in ("returns", "lengths")}
        metrics = {name: tuple(map(float, one)) for name, one in values["metrics"].items()}
        dropped = {reason: int(steps) for reason, steps in values["dropped"].items()}
        missing = {field.name for field in fields_of(cls)} - values.keys()
        if missing:
            raise InputError(f"{min(missing)} is missing")
        counts = ("iteration", "env_steps", "env_faults", "rolled_back_updates", "episodes")
        if min(values[name] for name in counts) < 0:
            raise InputError("a counter is negative")
        if len(lists["returns"]) != len(lists["lengths"]) or not all(metrics.values()):
            raise InputError("episodes have other numbers of returns, lengths and metrics")
        if not all(map(math.isfinite, (*lists["returns"], *chain(*metrics.values())))):
            raise InputError("a return or a metric is not finite")
        fields: dict[str, Any] = {**values, **lists, "dropped": dropped, "metrics": metrics}
        check_fields(cls, fields)
        return cls(**fields)


def summary_of(prefix: str, values: Sequence[float]) -> dict[str, float]:
    """Return mean, standard deviation, least and largest value, under a prefix."""
    return {
        f"{prefix}mean": sum(values) / len(values),
        f"{prefix}std": statistics.pstdev(values),
        f"{prefix}min": min(values),
        f"{prefix}max": max(values),
    }


def metric_tag(group: str, name: str) -> str:
    """Return the TensorBoard tag of the mean of what an env reported."""
    return f"{group}/success_rate" if name == "success" else f"{group}/{name}"
