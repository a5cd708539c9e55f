"""What follows from the settings: properties of the estimator, and defaults that others decide."""

from dataclasses import dataclass

from distpg.config.settings import (
    CollectSettings,
    EnvSettings,
    GradientSettings,
    LearnerSettings,
    PolicySettings,
    RunSettings,
)


@dataclass(frozen=True, kw_only=True)
class DerivedSettings(
    LearnerSettings, PolicySettings, GradientSettings, CollectSettings, EnvSettings, RunSettings
):
    """All settings together, unchecked, and what they imply."""

    @property
    def bootstraps(self) -> bool:
        """Whether the credit of a step contains V."""
        if self.advantage == "n_step":
            return self.bootstrap_steps != "inf"
        return self.advantage in ("gae", "vtrace")

    @property
    def monte_carlo(self) -> bool:
        """Whether the credit of a step needs whole episodes: V cannot stand in where one is cut."""
        if self.advantage == "total_return":
            return True
        return not self.bootstraps and self.baseline != "value"

    @property
    def one_step(self) -> bool:
        """Whether the surrogate's gradient is right only at the parameters that acted."""
        return self.surrogate in ("log_prob", "detached_ratio", "trust_region")

    @property
    def penalizes_kl(self) -> bool:
        """Whether the surrogate has a KL penalty."""
        return self.surrogate in ("kl_adaptive", "kl_fixed")

    @property
    def requires_on_policy(self) -> bool:
        """Whether the surrogate cannot learn from what an older policy played."""
        return self.one_step or self.penalizes_kl

    @property
    def signed(self) -> bool:
        """Whether to learn from the sign of rewards, its default resolved."""
        if self.sign_rewards == "auto":
            return self.env_id.startswith("ALE/")
        return self.sign_rewards == "on"

    @property
    def slots(self) -> int:
        """Slots of a batch, its default resolved."""
        return self.num_slots if self.num_slots is not None else max(1, self.num_workers)

    @property
    def episodes(self) -> int:
        """Whole episodes of each env in a rollout, or 0 for segments, its default resolved."""
        if self.episodes_per_env is None:
            return int(self.monte_carlo)
        return self.episodes_per_env
