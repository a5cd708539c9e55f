"""Schedules of learning rate, clip ranges, entropy and KL coefficients."""

from collections.abc import Mapping

import numpy as np

from distpg.config.config import Config
from distpg.config.settings import Schedule
from distpg.gradient.losses import Coefficients

FACTORS = (0.01, 10.0)
"""Range of the factor that the KL-adaptive schedules multiply by."""
PENALTIES = (2.0**-10, 2.0**10)
"""Range of the KL penalty's coefficient, relative to its initial value."""


class Schedules:
    """Current values; the KL-adaptive ones depend on the KL of the updates so far."""

    def __init__(self, config: Config) -> None:
        """Start from the configured values."""
        self.config = config
        self.factor = 1.0
        self.kl_coef = config.kl_coef
        schedules = [config.lr_schedule, config.clip_schedule, config.ent_schedule]
        if config.value_clip is not None:
            schedules.append(config.value_clip_schedule)
        self.follows_kl = config.surrogate == "kl_adaptive" or "kl_adaptive" in schedules

    def now(self, trained_steps: int) -> tuple[Coefficients, float]:
        """Return the coefficients of the next update's loss, and its learning rate."""
        config = self.config
        coefficients = Coefficients(
            clip=self._scheduled(config.clip_coef, config.clip_schedule, trained_steps),
            kl=self.kl_coef,
            entropy=self._scheduled(config.ent_coef, config.ent_schedule, trained_steps),
            value_clip=config.value_clip
            and self._scheduled(config.value_clip, config.value_clip_schedule, trained_steps),
        )
        rate = self._scheduled(config.learning_rate, config.lr_schedule, trained_steps)
        return coefficients, rate

    def scalars(self, trained_steps: int) -> dict[str, float]:
        """Return the current values by TensorBoard tag."""
        coefficients, rate = self.now(trained_steps)
        scalars = {"train/learning_rate": rate, "train/ent_coef": coefficients.entropy}
        if self.config.surrogate == "clip":
            scalars["train/clip_range"] = coefficients.clip
        if self.config.baseline == "value" and coefficients.value_clip is not None:
            scalars["train/value_clip_range"] = coefficients.value_clip
        if self.config.penalizes_kl:
            scalars["train/kl_coef"] = coefficients.kl
        return scalars

    def _scheduled(self, start: float, schedule: Schedule, trained_steps: int) -> float:
        if schedule == "linear":
            return start * max(0.0, 1 - trained_steps / self.config.total_steps)
        return start * self.factor if schedule == "kl_adaptive" else start

    def observe(self, kl: float) -> None:
        """Adapt to the KL between the policies before and after an update.

        The penalty doubles or halves if the KL missed its target by a factor of 1.5 (Schulman et
        al. 2017, section 4); the schedules change by 1.5 if it missed by a factor of 2.
        """
        target = self.config.kl_target
        if self.config.surrogate == "kl_adaptive":
            change = 2.0 if kl > 1.5 * target else 0.5 if kl < target / 1.5 else 1.0
            low, high = (bound * self.config.kl_coef for bound in PENALTIES)
            self.kl_coef = min(max(self.kl_coef * change, low), high)
        change = 1 / 1.5 if kl > 2 * target else 1.5 if kl < target / 2 else 1.0
        self.factor = min(max(self.factor * change, FACTORS[0]), FACTORS[1])

    def state(self) -> dict[str, np.ndarray]:
        """Return the adapted values as arrays."""
        return {"adapted": np.array([self.factor, self.kl_coef])}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` returned."""
        self.factor, self.kl_coef = (float(value) for value in state["adapted"])
