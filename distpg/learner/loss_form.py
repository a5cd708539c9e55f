"""What distinguishes one loss from another: what compiled functions are made for."""

from dataclasses import dataclass
from typing import Self

from distpg.config.config import Config


@dataclass(frozen=True)
class LossForm:
    """What distinguishes one loss from another, but for coefficients that schedules change."""

    surrogate: str
    penalizes_kl: bool
    has_entropy: bool
    vf_coef: float
    clips_values: bool
    normalizes: bool
    """Whether advantages, normalized over the batch, are then normalized over each minibatch."""

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return that of a configuration."""
        return cls(
            surrogate=config.surrogate,
            penalizes_kl=config.penalizes_kl,
            has_entropy=config.ent_coef > 0,
            vf_coef=config.vf_coef,
            clips_values=config.value_clip is not None,
            normalizes=config.normalize_advantages and config.normalize_over == "minibatch",
        )
