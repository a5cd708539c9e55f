"""Networks, action distribution and optimizer of a policy of Stable-Baselines3, as settings."""

from collections.abc import Mapping
from typing import Any

from distpg.config.values import one_of
from distpg.config.zoo.expressions import DottedName
from distpg.config.zoo.hyperparameters import (
    ACTIVATIONS,
    OPTIMIZERS,
    Hyperparameters,
    check_keys,
    table_of,
)
from distpg.errors import InputError

OPTIMIZER_SETTINGS: dict[str, dict[str, str]] = {
    "adam": {
        "eps": "optimizer_epsilon",
        "betas": "adam_betas",
        "weight_decay": "weight_decay",
    },
    "sgd": {"momentum": "momentum", "weight_decay": "weight_decay"},
    "rmsprop": {
        "eps": "optimizer_epsilon",
        "alpha": "rmsprop_decay",
        "weight_decay": "weight_decay",
    },
}
"""Settings by keyword argument of an optimizer."""
OPTIMIZER_SETTINGS["rmsprop_tf"] = OPTIMIZER_SETTINGS["rmsprop"]
TORCH_DEFAULTS: dict[str, Any] = {
    "eps": 1e-8,
    "betas": (0.9, 0.999),
    "alpha": 0.99,
    "momentum": 0.0,
    "weight_decay": 0.0,
}
"""Keyword arguments of torch's optimizers, and of RMSpropTFLike."""
WITHOUT: dict[str, Any] = {
    **{"amsgrad": False, "maximize": False, "centered": False, "nesterov": False},
    **{"dampening": 0, "momentum": 0},
}
"""Keyword arguments that may be given if they change nothing."""


def network_settings(h: Hyperparameters) -> dict[str, Any]:
    """Return the settings of networks and action distribution.

    Raises:
        InputError: a hyperparameter cannot be translated.
    """
    refuse = {"full_std": True, "use_expln": False, "squash_output": False}
    h.refuse_others(**refuse, share_features_extractor=True, normalize_images=True)
    policy_sizes, value_sizes = hidden_sizes(h)
    found: dict[str, Any] = {"hidden_sizes": policy_sizes}
    recurrent = recurrent_settings(h) if h.algorithm == "ppo_lstm" else {}
    shares = of_images(h) or recurrent.get("recurrent_critic") == "shared"
    if value_sizes != (() if shares else policy_sizes):
        found["value_hidden_sizes"] = value_sizes
    found["activation"] = named(h, "activation_fn", ACTIVATIONS)
    found["orthogonal_init"] = h["ortho_init"]
    found["action_distribution"] = "gsde" if h.switch("use_sde") else "gaussian"
    found["action_scale"] = "unit"
    found["log_std_init"] = h["log_std_init"]
    if h.switch("use_sde"):
        # once a rollout is -1 there
        found["sde_sample_freq"] = 0 if h["sde_sample_freq"] == -1 else h["sde_sample_freq"]
    return found | recurrent


def of_images(h: Hyperparameters) -> bool:
    """Return whether the policy is one of images.

    Raises:
        InputError: the algorithm has no such policy, or it cannot be translated.
    """
    lstm = "Lstm" if h.algorithm == "ppo_lstm" else ""
    known = f"Mlp{lstm}Policy", f"Cnn{lstm}Policy"
    if h["policy"] not in known:
        raise InputError(
            f"policy: {h['policy']!r:.60} of {h.algorithm} cannot be translated; {one_of(known)} "
            "can be"
        )
    return h["policy"].startswith("Cnn")


def hidden_sizes(h: Hyperparameters) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the units of the hidden layers of policy and critic.

    Raises:
        InputError: net_arch has another form.
    """
    sizes: Any = h["net_arch"]
    if sizes is None:
        sizes = [] if of_images(h) else [64, 64]
    if isinstance(sizes, list) and len(sizes) == 1 and isinstance(sizes[0], dict):
        # the form before version 1.8
        sizes = sizes[0]
    if isinstance(sizes, list):
        sizes = {"pi": sizes, "vf": sizes}
    found = table_of(sizes, "net_arch")
    check_keys(found, {"pi", "vf"}, "net_arch: ")
    if not all(isinstance(part, list | tuple) for part in found.values()):
        raise InputError(f"net_arch: {h['net_arch']!r:.60} is not of the form dict(pi=[], vf=[])")
    return tuple(found.get("pi", ())), tuple(found.get("vf", ()))


def recurrent_settings(h: Hyperparameters) -> dict[str, Any]:
    """Return the settings of recurrent layers.

    Raises:
        InputError: the critic's cannot be both shared and its own, or have other arguments.
    """
    if h["lstm_kwargs"]:
        h.refuse_others(lstm_kwargs=None)
    shared, own = h.switch("shared_lstm"), h.switch("enable_critic_lstm")
    if shared and own:
        raise InputError("shared_lstm and enable_critic_lstm: both are True; one must be False")
    return {
        "recurrent": "lstm",
        "recurrent_size": h["lstm_hidden_size"],
        "recurrent_layers": h["n_lstm_layers"],
        "recurrent_critic": "shared" if shared else "own" if own else "none",
    }


def optimizer_settings(h: Hyperparameters) -> dict[str, Any]:
    """Return the optimizer, with those of its arguments that are settings.

    Raises:
        InputError: an argument cannot be translated.
    """
    optimizer = named(h, "optimizer_class", OPTIMIZERS)
    kwargs: dict[str, Any] = table_of(h["optimizer_kwargs"], "optimizer_kwargs")
    of_a2c = h.algorithm == "a2c" and h.switch("use_rms_prop")
    if of_a2c and "optimizer_class" not in h.given:
        optimizer, kwargs = "rmsprop", {"eps": h["rms_prop_eps"]}
    elif h["optimizer_kwargs"] is None and optimizer == "adam":
        kwargs = {"eps": 1e-5}
    names = OPTIMIZER_SETTINGS[optimizer]
    check_keys(kwargs, names.keys() | WITHOUT.keys(), "optimizer_kwargs: ")
    for key, value in kwargs.items():
        if key not in names and value != WITHOUT[key]:
            raise InputError(f"optimizer_kwargs: {key} {value!r:.60} cannot be translated")
    values = TORCH_DEFAULTS | kwargs
    found = {setting: as_setting(values[key]) for key, setting in names.items()}
    return {"optimizer": optimizer, **found}


def as_setting(value: Any) -> Any:
    """Return a list as a tuple, as settings have it."""
    return tuple(value) if isinstance(value, list) else value


def named(h: Hyperparameters, key: str, names: Mapping[str, str]) -> str:
    """Return the setting for a class, which only an expression can name.

    Raises:
        InputError: it is not one of those known.
    """
    value = h[key]
    if not isinstance(value, DottedName) or value not in names:
        raise InputError(f"{key}: {value!r:.60} is not one of {one_of(names)}")
    return names[value]
