"""An entry of a file of rl-zoo3 as settings: which hyperparameter each is from, what differs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distpg.config.values import one_of
from distpg.config.zoo.differences import differences
from distpg.config.zoo.entries import choose, find, read_entries
from distpg.config.zoo.environments import copy_settings, env_settings, normalize_settings
from distpg.config.zoo.hyperparameters import DEFAULTS, Hyperparameters, read
from distpg.config.zoo.networks import network_settings, optimizer_settings
from distpg.errors import InputError, prefix_errors

COMMON = {
    "num_steps": "n_steps",
    "gamma": "gamma",
    "gae_lambda": "gae_lambda",
    "normalize_advantages": "normalize_advantage",
}
OF_LOSS = {"ent_coef": "ent_coef", "vf_coef": "vf_coef", "max_grad_norm": "max_grad_norm"}
SAME = {
    "ppo": {**COMMON, **OF_LOSS, "num_epochs": "n_epochs", "target_kl": "target_kl"},
    "a2c": {**COMMON, **OF_LOSS},
    "trpo": {
        **COMMON,
        "max_kl": "target_kl",
        "cg_iterations": "cg_max_steps",
        "cg_damping": "cg_damping",
        "fisher_subsampling": "sub_sampling_factor",
        "line_search_steps": "line_search_max_iter",
        "value_epochs": "n_critic_updates",
    },
}
SAME["ppo_lstm"] = SAME["ppo"]
"""Settings that are hyperparameters of the algorithm, by their names there."""
NOT_CLIPPED = 1e9
"""Norm of a gradient that no gradient has."""
SOURCES = {
    "total_steps": "n_timesteps",
    "num_workers": "n_envs",
    "num_slots": "n_envs",
    "num_envs": "n_envs",
    "env_kwargs": "env_kwargs",
    "env_wrapper": "env_wrapper",
    "sign_rewards": "env_wrapper",
    "frame_stack": "frame_stack",
    "minibatch_size": "batch_size",
    "normalize_over": "normalize_advantage",
    "learning_rate": "learning_rate",
    "lr_schedule": "learning_rate",
    "clip_coef": "clip_range",
    "clip_schedule": "clip_range",
    "value_clip": "clip_range_vf",
    "value_clip_schedule": "clip_range_vf",
    "normalize_obs": "normalize",
    "normalize_rewards": "normalize",
    "clip_obs": "normalize",
    "clip_rewards": "normalize",
    "hidden_sizes": "net_arch",
    "value_hidden_sizes": "net_arch",
    "activation": "activation_fn",
    "orthogonal_init": "ortho_init",
    "log_std_init": "log_std_init",
    "action_distribution": "use_sde",
    "sde_sample_freq": "sde_sample_freq",
    "recurrent": "policy",
    "recurrent_size": "lstm_hidden_size",
    "recurrent_layers": "n_lstm_layers",
    "recurrent_critic": "enable_critic_lstm",
    "optimizer": "optimizer_class",
    "optimizer_epsilon": "optimizer_kwargs",
    "adam_betas": "optimizer_kwargs",
    "rmsprop_decay": "optimizer_kwargs",
    "momentum": "optimizer_kwargs",
    "weight_decay": "optimizer_kwargs",
}
"""Hyperparameters of other settings."""
OF_A2C = {"optimizer": "use_rms_prop", "optimizer_epsilon": "rms_prop_eps"}
"""Those of A2C, unless policy_kwargs has an optimizer."""


@dataclass(frozen=True)
class Translation:
    """The settings of an entry."""

    title: str
    settings: Mapping[str, Any]
    sources: Mapping[str, str]
    """By setting: its hyperparameter, and whether that has its default in Stable-Baselines3."""
    notes: tuple[str, ...]
    """What differs from a run of Stable-Baselines3, a sentence each."""


def translate(
    file: str, env_id: str | None, algo: str | None = None, entry: str | None = None
) -> Translation:
    """Translate the entry of an environment.

    Args:
        file: A YAML file of rl-zoo3, named ppo, a2c, trpo or ppo_lstm.
        env_id: The environment, as for --env-id.
        algo: The algorithm, if the file has another name: ppo, a2c or trpo.
        entry: The entry, instead of the environment's own.

    Raises:
        InputError: file or entry cannot be read, or cannot be translated.
    """
    entries = read_entries(file)
    if env_id is None:
        raise InputError(f"--from-zoo: {file} has many environments; add --env-id")
    with prefix_errors(f"--from-zoo {file}"):
        name = choose(entries, env_id) if entry is None else entry
        given = find(entries, name)
        algorithm = algorithm_of(file, algo, given)
        with prefix_errors(name):
            h = read(algorithm, given)
            settings = settings_of(h, env_id)
    return Translation(
        f"{env_id} by the entry {name} of rl-zoo3's {Path(file).name}",
        settings,
        {setting: source(h, setting, value) for setting, value in settings.items()},
        differences(h, settings),
    )


def algorithm_of(file: str, algo: str | None, entry: Mapping[str, Any]) -> str:
    """Return the algorithm, by the name of its file in rl-zoo3.

    Raises:
        InputError: it is none that can be translated, or --algo is another one.
    """
    stem = Path(file).stem
    if stem in DEFAULTS:
        if algo not in (None, stem.removesuffix("_lstm")):
            raise InputError(f"--algo: {algo}, but the file is named {stem}; omit --algo")
        return stem
    if algo not in ("ppo", "a2c", "trpo"):
        raise InputError(
            f"--algo: {stem} cannot be translated; files can that are named "
            f"{one_of(DEFAULTS)}, or otherwise with --algo ppo, a2c or trpo"
        )
    recurrent = algo == "ppo" and "Lstm" in str(entry.get("policy"))
    return "ppo_lstm" if recurrent else algo


def settings_of(h: Hyperparameters, env_id: str) -> dict[str, Any]:
    """Return all settings of hyperparameters.

    Raises:
        InputError: one cannot be translated.
    """
    copies = copy_settings(h)
    found: dict[str, Any] = {
        "algo": h.algorithm.removesuffix("_lstm"),
        "env_id": env_id,
        "total_steps": h.count("n_timesteps"),
        **env_settings(h, env_id),
        **copies,
        **{setting: h[key] for setting, key in SAME[h.algorithm].items()},
        **batch_settings(h),
        **normalize_settings(h),
        **network_settings(h),
        **optimizer_settings(h),
    }
    found["learning_rate"], found["lr_schedule"] = h.schedule("learning_rate")
    if h.algorithm in ("ppo", "ppo_lstm"):
        found["clip_coef"], found["clip_schedule"] = h.schedule("clip_range")
        found["value_clip"], schedule = h.schedule("clip_range_vf")
        if found["value_clip"] is not None:
            found["value_clip_schedule"] = schedule
    return found


def batch_settings(h: Hyperparameters) -> dict[str, Any]:
    """Return how a batch is split, and what the algorithm implies.

    Raises:
        InputError: a size is not a whole number.
    """
    if h.algorithm == "a2c":
        return {"num_epochs": 1, "minibatch_size": None}
    num_steps = h.count("n_steps")
    batch = h.count("n_envs") * num_steps
    size = None if h["batch_size"] is None else h.count("batch_size")
    found: dict[str, Any] = {"minibatch_size": size if size and size <= batch else None}
    if h.algorithm == "trpo":
        # the critic's only step of the main loss is of the same loss as its epochs
        found |= {"num_epochs": 1, "ent_coef": 0.0, "vf_coef": 1.0, "max_grad_norm": NOT_CLIPPED}
    elif found["minibatch_size"] and h["normalize_advantage"]:
        found["normalize_over"] = "minibatch"
    if h.algorithm == "ppo_lstm":
        found["sequence_length"] = min(num_steps, size or num_steps)
    return found


def source(h: Hyperparameters, setting: str, value: Any) -> str:
    """Return the hyperparameter that a setting is from, if it is from one."""
    of_a2c = h.algorithm == "a2c" and "optimizer_class" not in h.given
    key = (SAME[h.algorithm] | SOURCES | (OF_A2C if of_a2c else {})).get(setting, "")
    if key not in h.given and key not in h.defaults:
        return ""
    if key == "batch_size" and h[key] is not None and value is None:
        return "batch_size is more than the batch"
    if setting == "env_kwargs" and key not in h.given:
        # those of AtariWrapper
        key = "env_wrapper"
    return key if key in h.given else f"{key} (default)"
