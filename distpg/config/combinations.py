"""Settings that cannot be together, each with what to change."""

from distpg.config.derived import DerivedSettings
from distpg.errors import InputError


def check_combinations(config: DerivedSettings) -> None:
    """Refuse settings that are legal each by itself, but not together.

    Raises:
        InputError: names the flags.
    """
    if config.rollback_on_collapse is not None and not config.eval_every:
        raise InputError(
            f"--rollback-on-collapse: {config.rollback_on_collapse} with --eval-every 0, which "
            "never sees a collapse; give --eval-every"
        )
    if config.compile and config.recurrent != "none":
        raise InputError(
            f"--compile cannot compile --recurrent {config.recurrent}, whose sequences change in "
            "length; leave one out"
        )
    check_estimator(config)
    check_batch(config)


def check_estimator(config: DerivedSettings) -> None:
    """Refuse what is no estimator of the policy gradient.

    Raises:
        InputError: names the flags.
    """
    if config.bootstraps and config.baseline != "value":
        raise InputError(
            f"--advantage {config.advantage} contains V, so it needs --baseline value, not "
            f"{config.baseline}; or take --advantage reward_to_go, or n_step with "
            "--bootstrap-steps inf"
        )
    if config.overlap and config.requires_on_policy:
        raise InputError(
            f"--overlap: rollouts are one update old, which --surrogate {config.surrogate} does "
            "not correct for; take --surrogate clip or importance, or leave --overlap out"
        )
    if config.one_step and config.num_epochs > 1:
        raise InputError(
            f"--num-epochs: {config.num_epochs} with --surrogate {config.surrogate}, which is "
            "exact for one step a batch only; take --num-epochs 1 or --surrogate clip"
        )
    if config.normalize_rewards and config.signed:
        raise InputError(
            "--normalize-rewards has nothing to scale in the sign of rewards; leave it out, or "
            "take --sign-rewards off"
        )
    if config.monte_carlo and config.episodes_per_env == 0:
        raise InputError(
            f"--episodes-per-env: 0 with --advantage {config.advantage}, which credits whole "
            "episodes; give at least 1"
        )


def check_batch(config: DerivedSettings) -> None:
    """Refuse what makes no batch.

    Raises:
        InputError: names the flags.
    """
    if config.num_slots is not None and config.num_slots < config.num_workers:
        raise InputError(
            f"--num-slots: {config.num_slots} slots leave some of {config.num_workers} workers "
            "without one; give at least as many slots as --num-workers"
        )
    if config.address is not None and config.num_workers == 0:
        raise InputError(
            f"--address: {config.address} with --num-workers 0, which has no Ray; leave one out"
        )
    if config.baseline in ("mean", "time") and config.slots * config.num_envs * config.episodes < 2:
        raise InputError(
            f"--baseline {config.baseline} compares an episode with the others of its batch, "
            "which holds 1; raise --num-envs or --episodes-per-env"
        )
    nominal = config.slots * config.num_envs * config.num_steps
    if not config.episodes and config.minibatch_size and config.minibatch_size > nominal:
        raise InputError(
            f"--minibatch-size: {config.minibatch_size} is more than the batch of {nominal} = "
            f"{config.slots} slots x {config.num_envs} envs x {config.num_steps} steps"
        )
