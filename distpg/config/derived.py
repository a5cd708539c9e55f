"""Properties derived from the settings: of the estimator, and defaults that depend on others."""

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
    """All settings, not validated, and their derived properties."""

    @property
    def bootstraps(self) -> bool:
        """Whether advantages bootstrap from V."""
        if self.advantage == "n_step":
            return self.bootstrap_steps != "inf"
        return self.advantage in ("gae", "vtrace")

    @property
    def monte_carlo(self) -> bool:
        """Whether advantages need whole episodes: they cannot bootstrap where one is truncated."""
        if self.advantage == "total_return":
            return True
        return not self.bootstraps and self.baseline != "value"

    @property
    def one_step(self) -> bool:
        """Whether the surrogate's gradient is only valid at the behaviour policy's parameters."""
        return self.surrogate in ("log_prob", "detached_ratio", "trust_region")

    @property
    def penalizes_kl(self) -> bool:
        """Whether the surrogate has a KL penalty."""
        return self.surrogate in ("kl_adaptive", "kl_fixed")

    @property
    def requires_on_policy(self) -> bool:
        """Whether the surrogate cannot correct for rollouts of an older policy."""
        return self.one_step or self.penalizes_kl

    @property
    def signed(self) -> bool:
        """Whether to train on the sign of rewards, with `auto` resolved."""
        if self.sign_rewards == "auto":
            return str(self.env_id).startswith("ALE/")
        return self.sign_rewards == "on"

    @property
    def slots(self) -> int:
        """Number of slots, with the default resolved."""
        return self.num_slots if self.num_slots is not None else max(1, self.num_workers)

    @property
    def evaluation_delay(self) -> int:
        """Iterations until the result of an evaluation takes effect, with the default resolved."""
        return self.eval_delay or self.eval_every or 1

    @property
    def num_first_workers(self) -> int:
        """Workers with which training starts, with the default resolved."""
        return self.num_workers if self.min_workers is None else self.min_workers

    @property
    def num_processes(self) -> int:
        """Processes of a run on Ray: workers, a learner, one for evaluations, one for clips."""
        return self.num_workers + 1 + (self.eval_every > 0) + (self.video_every > 0)

    @property
    def first_eval_copy(self) -> int:
        """Number of the first env of the evaluations; those of the slots come before."""
        return self.slots * self.num_envs

    @property
    def clip_copy(self) -> int:
        """Number of the env of clips, if the run has any, after those of evaluations."""
        return self.first_eval_copy + self.num_envs

    @property
    def first_other_copy(self) -> int:
        """Number of the first env of checks and of `evaluate`, after those of the run."""
        return self.clip_copy + (self.video_every > 0)

    @property
    def episodes(self) -> int:
        """Whole episodes per env and rollout, or 0 for segments, with the default resolved."""
        if self.episodes_per_env is None:
            return int(self.monte_carlo)
        return self.episodes_per_env
