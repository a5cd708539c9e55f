"""Illegal combinations of settings, each with a suggested fix."""

from distpg.config.derived import DerivedSettings
from distpg.errors import InputError


def check_combinations(config: DerivedSettings) -> None:
    """Check settings that are legal on their own but not together.

    Raises:
        InputError: a combination is illegal; the message names the flags.
    """
    if config.rollback_on_collapse is not None and not config.eval_every:
        raise InputError(
            f"--rollback-on-collapse: {config.rollback_on_collapse} needs evaluations, but "
            "--eval-every is 0; use --eval-every 1 or more"
        )
    if config.eval_delay is not None and 0 < config.eval_every < config.eval_delay:
        raise InputError(
            f"--eval-delay: {config.eval_delay} is more than --eval-every {config.eval_every}; one "
            "evaluation is under way at a time"
        )
    if config.stop_at_eval_return is not None and not config.eval_every:
        raise InputError(
            f"--stop-at-eval-return: {config.stop_at_eval_return:g} needs evaluations, but "
            "--eval-every is 0; use --eval-every 1 or more"
        )
    if config.rollback_on_collapse is not None and config.overlap:
        raise InputError(
            f"--rollback-on-collapse: {config.rollback_on_collapse} with --overlap, which is "
            "already collecting with the policy that collapsed; omit one of them"
        )
    if config.compile == "on" and config.recurrent != "none":
        raise InputError(
            f"--compile: on does not support --recurrent {config.recurrent}, whose sequences vary "
            "in length; omit one of them"
        )
    if config.log_std == "state" and config.log_std_init in (-5, 2):
        raise InputError(
            f"--log-std-init: {config.log_std_init:g} with --log-std state is a limit that no "
            "output reaches; use a number between -5 and 2, or --log-std free"
        )
    if config.acting == "numpy":
        check_acting(config)
    check_estimator(config)
    check_batch(config)


def check_acting(config: DerivedSettings) -> None:
    """Check that NumPy can compute the policy, as far as settings tell.

    Raises:
        InputError: it cannot; the message names the flags.
    """
    found = ""
    if config.recurrent != "none":
        found = f"--recurrent {config.recurrent}"
    elif config.encoder is not None:
        found = "--encoder"
    elif config.action_distribution == "beta":
        found = "--action-distribution beta"
    if found:
        raise InputError(f"--acting: numpy does not support {found}; use --acting torch")


def check_estimator(config: DerivedSettings) -> None:
    """Check that the settings form an estimator of the policy gradient.

    Raises:
        InputError: they do not; the message names the flags.
    """
    if config.bootstraps and config.baseline != "value":
        raise InputError(
            f"--advantage {config.advantage} bootstraps from V, so it needs --baseline value, not "
            f"{config.baseline}; or use --advantage reward_to_go, or n_step with "
            "--bootstrap-steps inf"
        )
    if config.overlap and config.requires_on_policy:
        raise InputError(
            f"--overlap: rollouts are one update old, which --surrogate {config.surrogate} does "
            "not correct for; use --surrogate clip or importance, or omit --overlap"
        )
    if config.one_step and config.num_epochs > 1:
        raise InputError(
            f"--num-epochs: {config.num_epochs} with --surrogate {config.surrogate}, which takes "
            "one optimizer step per batch; use --num-epochs 1 or --surrogate clip"
        )
    if config.normalize_over == "minibatch":
        check_minibatch_advantages(config)
    if config.normalize_rewards and config.signed:
        raise InputError(
            "--normalize-rewards has nothing to scale when training on the sign of rewards; omit "
            "it, or use --sign-rewards off"
        )
    if config.monte_carlo and config.episodes_per_env == 0:
        raise InputError(
            f"--episodes-per-env: 0 with --advantage {config.advantage}, which needs whole "
            "episodes; use at least 1"
        )


def check_minibatch_advantages(config: DerivedSettings) -> None:
    """Check that the policy takes a step for each minibatch, on the average of its samples.

    Raises:
        InputError: it does not; the message names the flags.
    """
    name = "--normalize-over"
    if config.one_step:
        raise InputError(
            f"{name}: minibatch with --surrogate {config.surrogate}, which takes one step of the "
            f"policy per batch; use {name} batch or --surrogate clip"
        )
    if config.loss_average == "per_episode":
        raise InputError(
            f"{name}: minibatch with --loss-average per_episode, but a minibatch has no whole "
            f"episodes; use {name} batch or --loss-average per_step"
        )


def check_batch(config: DerivedSettings) -> None:
    """Check the size of a batch, and who collects it.

    Raises:
        InputError: there is a conflict; the message names the flags.
    """
    if config.num_slots is not None and config.num_slots < config.num_workers:
        raise InputError(
            f"--num-slots: {config.num_slots} is less than --num-workers {config.num_workers}; "
            "every worker needs at least one slot"
        )
    if config.min_workers is not None and 0 < config.num_workers < config.min_workers:
        raise InputError(
            f"--min-workers: {config.min_workers} is more than --num-workers {config.num_workers}"
        )
    if config.address is not None and config.num_workers == 0:
        raise InputError(
            f"--address: {config.address}, but --num-workers 0 runs without Ray; omit one of them"
        )
    if config.baseline in ("mean", "time") and config.slots * config.num_envs * config.episodes < 2:
        raise InputError(
            f"--baseline {config.baseline} compares each episode with the others of its batch, but "
            "a batch has only 1; increase --num-envs or --episodes-per-env"
        )
    batch_size = config.slots * config.num_envs * config.num_steps
    if not config.episodes and config.minibatch_size and config.minibatch_size > batch_size:
        raise InputError(
            f"--minibatch-size: {config.minibatch_size} is more than the batch of {batch_size} = "
            f"{config.slots} slots x {config.num_envs} envs x {config.num_steps} steps"
        )
