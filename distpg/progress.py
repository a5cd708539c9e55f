"""How far a run is: counters, and the last 100 finished episodes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from dataclasses import fields as fields_of
from typing import Any, Self

from distpg.config.values import check_fields
from distpg.errors import InputError
from distpg.records import RolloutStats

WINDOW = 100
"""Episodes that the reported mean return is taken over."""


@dataclass(frozen=True)
class Progress:
    """The state of a run as the driver counts it."""

    iteration: int = 0
    env_steps: int = 0
    """Valid transitions, each trained on once."""
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    """Transitions simulated but not trained on, by reason."""
    env_faults: int = 0
    """Exceptions that environments raised, each at the cost of an episode."""
    last_fault: str | None = None
    """The last one, and where."""
    rolled_back_updates: int = 0
    """Updates that produced NaN or inf."""
    episodes: int = 0
    batch_return: float | None = None
    """Mean return of the episodes that finished in the last iteration, if any did."""
    returns: tuple[float, ...] = ()
    """Returns of the last finished episodes, at most 100, newest last."""
    lengths: tuple[int, ...] = ()

    def after(self, slots: Sequence[RolloutStats], *, rolled_back: bool = False) -> Self:
        """Count one more iteration; slots in slot order."""
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
        )

    def dropping(self, slots: Sequence[RolloutStats]) -> Self:
        """Count what was collected ahead, and is not trained on because the run stops."""
        ahead = sum(slot.env_steps + slot.dropped_steps for slot in slots)
        return replace(self, dropped=self._with({"stopped": ahead}))

    def _with(self, dropped: Mapping[str, int]) -> dict[str, int]:
        more = {reason: self.dropped.get(reason, 0) + steps for reason, steps in dropped.items()}
        return {**self.dropped, **more}

    @property
    def dropped_steps(self) -> int:
        """Transitions simulated but not trained on."""
        return sum(self.dropped.values())

    @property
    def mean_return(self) -> float | None:
        """Mean return of the window, or None before the first episode has finished."""
        return sum(self.returns) / len(self.returns) if self.returns else None

    @property
    def mean_length(self) -> float | None:
        """Mean length of the window in env steps."""
        return sum(self.lengths) / len(self.lengths) if self.lengths else None

    def reached(self, wanted: float | None) -> bool:
        """Tell whether a full window has at least the wanted mean return."""
        mean = self.mean_return
        full = len(self.returns) == WINDOW
        return wanted is not None and mean is not None and full and mean >= wanted

    def to_json(self) -> dict[str, Any]:
        """Write as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> Self:
        """Read back.

        Raises:
            InputError: a value is not of its field's kind.
        """
        lists = {key: tuple(described[key]) for key in ("returns", "lengths")}
        dropped = {reason: int(steps) for reason, steps in described["dropped"].items()}
        missing = {field.name for field in fields_of(cls)} - described.keys()
        counts = ("iteration", "env_steps", "env_faults", "rolled_back_updates", "episodes")
        if missing or min(described[name] for name in counts) < 0:
            raise InputError(f"{min(missing)} is absent" if missing else "a count is negative")
        fields: dict[str, Any] = {**described, **lists, "dropped": dropped}
        check_fields(cls, fields)
        return cls(**fields)
