"""Warn about settings that have no effect in combination with the others."""

import dataclasses
from collections.abc import Collection, Iterator

from distpg.config.config import Config
from distpg.config.values import flag
from distpg.policy.action_units import BOUNDED
from distpg.report.watcher import Watcher
from distpg.run.given_watchers import OF_SETTINGS
from distpg.spaces import ActionSpec, ObsSpec

ON_RAY = (
    *("max_restarts", "min_workers", "placement", "learner_label", "worker_label"),
    *("wait_for_resources", "recovery_every"),
)
"""Settings of processes on Ray."""


def unused_settings(
    config: Config,
    obs_spec: ObsSpec,
    action_spec: ActionSpec,
    watchers: Collection[Watcher] = (),
) -> list[str]:
    """Return a warning for each setting that differs from its preset but has no effect.

    Args:
        config: The settings.
        obs_spec: What the environment returns.
        action_spec: What it accepts.
        watchers: Of the run, which may ask for evaluations.
    """
    preset = Config(algo=config.algo, num_workers=0, num_envs=2)
    return [
        f"{flag(name)} has no effect without {need}"
        for name, need in unmet_needs(config, obs_spec, action_spec, watchers)
        if getattr(config, name) != getattr(preset, name)
    ]


def unmet_needs(
    config: Config, obs_spec: ObsSpec, action_spec: ActionSpec, watchers: Collection[Watcher]
) -> Iterator[tuple[str, str]]:
    """Yield the name of each setting without effect, and what it needs to have one."""
    schedules = (
        *(config.lr_schedule, config.clip_schedule, config.ent_schedule),
        config.value_clip_schedule,
    )
    follows_kl = "kl_adaptive" in (config.surrogate, *schedules)
    trust_region = config.surrogate == "trust_region"
    kinds = {leaf.kind for leaf in obs_spec.inputs}
    critic = config.baseline == "value"
    # a user-defined encoder may use any setting of the networks
    own_encoder = config.encoder is not None
    may_ask = any(type(watcher) not in OF_SETTINGS for watcher in watchers)
    needs = {
        "--optimizer sgd": (config.optimizer == "sgd", ("momentum",)),
        "--optimizer adam": (config.optimizer == "adam", ("adam_betas",)),
        "--optimizer rmsprop or rmsprop_tf": (
            config.optimizer in ("rmsprop", "rmsprop_tf"),
            ("rmsprop_decay",),
        ),
        "--optimizer adam, rmsprop or rmsprop_tf": (
            config.optimizer != "sgd",
            ("optimizer_epsilon",),
        ),
        "--advantage n_step": (config.advantage == "n_step", ("bootstrap_steps",)),
        "--advantage vtrace": (config.advantage == "vtrace", ("rho_bar", "c_bar")),
        "--advantage gae": (config.advantage == "gae", ("gae_lambda",)),
        "--surrogate importance": (
            config.surrogate == "importance",
            ("importance", "importance_clip"),
        ),
        "--surrogate clip": (config.surrogate == "clip", ("clip_coef", "clip_schedule")),
        "--surrogate trust_region": (
            trust_region,
            (
                *("max_kl", "cg_iterations", "cg_damping", "line_search_steps"),
                "fisher_subsampling",
            ),
        ),
        "--baseline value or another --surrogate": (
            critic or not trust_region,
            ("optimizer", "learning_rate", "lr_schedule", "max_grad_norm", "weight_decay"),
        ),
        "image observations": (own_encoder or "image" in kinds, ("image_encoder", "precision")),
        "observations other than images": (
            own_encoder or kinds != {"image"},
            ("hidden_sizes",),
        ),
        "observations other than images, or --value-hidden-sizes": (
            own_encoder or kinds != {"image"} or bool(critic and config.value_hidden_sizes),
            ("activation",),
        ),
        "vector observations": ("vector" in kinds, ("clip_obs",)),
        "--normalize-obs": (config.normalize_obs, ("clip_obs",)),
        "--normalize-rewards": (config.normalize_rewards, ("clip_rewards",)),
        "continuous actions": (
            action_spec.kind == "continuous",
            ("action_distribution", "sde_sample_freq", "log_std", "log_std_init"),
        ),
        "finite bounds of actions other than [-1, 1]": (action_spec.is_scaled, ("action_scale",)),
        "--action-distribution gaussian or gsde": (
            config.action_distribution not in BOUNDED or not action_spec.is_scaled,
            ("action_scale",),
        ),
        "--action-distribution gsde": (
            config.action_distribution == "gsde" or action_spec.kind != "continuous",
            ("sde_sample_freq",),
        ),
        "a Gaussian --action-distribution": (
            config.action_distribution != "beta",
            ("log_std", "log_std_init"),
        ),
        "--action-distribution gaussian or squashed_gaussian": (
            config.action_distribution != "gsde",
            ("log_std",),
        ),
        "--recurrent": (
            config.recurrent != "none",
            ("recurrent_size", "recurrent_layers", "recurrent_critic", "sequence_length"),
        ),
        "--surrogate kl_adaptive or kl_fixed": (config.penalizes_kl, ("kl_coef",)),
        "a kl_adaptive --surrogate or schedule": (follows_kl, ("kl_target",)),
        "--baseline value": (
            critic,
            (
                *("vf_coef", "value_clip", "value_epochs"),
                *("value_hidden_sizes", "recurrent_critic", "recompute_advantages"),
            ),
        ),
        "--value-clip": (config.value_clip is not None, ("value_clip_schedule",)),
        "several optimizer steps per batch": (
            not config.one_step,
            ("target_kl",),
        ),
        "--normalize-advantages": (config.normalize_advantages, ("normalize_over",)),
        "--minibatch-size": (config.minibatch_size is not None, ("normalize_over",)),
        "several epochs": (config.num_epochs > 1, ("recompute_advantages",)),
        "--episodes-per-env 0": (config.episodes == 0, ("num_steps",)),
        "--eval-every or a watcher that asks for evaluations": (
            config.eval_every > 0 or may_ask,
            ("eval_episodes", "eval_delay"),
        ),
        "--ent-coef": (config.ent_coef > 0, ("ent_schedule",)),
        "--num-workers": (config.num_workers > 0, ON_RAY),
    }
    assert {field.name for field in dataclasses.fields(config)}.issuperset(
        name for _, names in needs.values() for name in names
    ), "a setting is misspelt"
    for need, (met, names) in needs.items():
        yield from ((name, need) for name in names if not met)
