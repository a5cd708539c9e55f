"""Hyperparameters of an entry over the defaults of rl-zoo3, Stable-Baselines3 and SB3-contrib.

The defaults are those of version 2.9.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from distpg.config.values import did_you_mean, one_of
from distpg.config.zoo.expressions import DottedName, parse
from distpg.errors import InputError, prefix_errors

ACTIVATIONS = {
    f"{module}.{name}": activation
    for module in ("nn", "th.nn")
    for name, activation in (
        *(("Tanh", "tanh"), ("ReLU", "relu"), ("ELU", "elu"), ("SiLU", "silu")),
        *(("GELU", "gelu"), ("LeakyReLU", "leaky_relu")),
    )
}
"""Activations by the names that an expression may have."""
OPTIMIZERS = {
    "th.optim.Adam": "adam",
    "th.optim.SGD": "sgd",
    "th.optim.RMSprop": "rmsprop",
    "RMSpropTFLike": "rmsprop_tf",
}
"""Optimizers by the names that an expression may have."""
NETWORK: dict[str, Any] = {
    "net_arch": None,
    "activation_fn": DottedName("nn.Tanh"),
    "ortho_init": True,
    "log_std_init": 0.0,
    "full_std": True,
    "use_expln": False,
    "squash_output": False,
    "share_features_extractor": True,
    "normalize_images": True,
    "optimizer_class": DottedName("th.optim.Adam"),
    "optimizer_kwargs": None,
}
"""Keys of policy_kwargs."""
LSTM: dict[str, Any] = {
    "lstm_hidden_size": 256,
    "n_lstm_layers": 1,
    "shared_lstm": False,
    "enable_critic_lstm": True,
    "lstm_kwargs": None,
}
"""Further keys of policy_kwargs with an LSTM."""
ZOO: dict[str, Any] = {
    "n_envs": 1,
    "normalize": False,
    "frame_stack": None,
    "env_wrapper": None,
    "vec_env_wrapper": None,
    "env_kwargs": None,
    "policy_kwargs": None,
    "use_sde": False,
    "sde_sample_freq": -1,
    "gamma": 0.99,
    "normalize_advantage": True,
}
"""Keys that every algorithm has."""
REQUIRED = ("n_timesteps", "policy")
PPO: dict[str, Any] = {
    **ZOO,
    "learning_rate": 3e-4,
    "n_steps": 2048,
    "batch_size": 64,
    "n_epochs": 10,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "clip_range_vf": None,
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "target_kl": None,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "ppo": PPO,
    "ppo_lstm": {**PPO, "n_steps": 128, "batch_size": 128},
    "a2c": {
        **ZOO,
        "learning_rate": 7e-4,
        "n_steps": 5,
        "gae_lambda": 1.0,
        "ent_coef": 0.0,
        "vf_coef": 0.5,
        "max_grad_norm": 0.5,
        "rms_prop_eps": 1e-5,
        "use_rms_prop": True,
        "normalize_advantage": False,
    },
    "trpo": {
        **ZOO,
        "learning_rate": 1e-3,
        "n_steps": 2048,
        "batch_size": 128,
        "gae_lambda": 0.95,
        "cg_max_steps": 15,
        "cg_damping": 0.1,
        "line_search_shrinking_factor": 0.8,
        "line_search_max_iter": 10,
        "n_critic_updates": 10,
        "target_kl": 0.01,
        "sub_sampling_factor": 1,
    },
}
"""By the name of the algorithm's file."""


@dataclass(frozen=True)
class Hyperparameters:
    """What an entry gives, policy_kwargs side by side with the rest, over the defaults."""

    algorithm: str
    """The name of its file."""
    given: Mapping[str, Any]
    defaults: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.given[key] if key in self.given else self.defaults[key]

    def count(self, key: str) -> int:
        """Return a whole number of at least 1, which may be written as a float.

        Raises:
            InputError: it is another value.
        """
        value = self[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < 1e15:
            raise InputError(f"{key}: {value!r:.60} is not a whole number of at least 1")
        if value != int(value):
            raise InputError(f"{key}: {value!r:.60} is not a whole number")
        return int(value)

    def switch(self, key: str) -> bool:
        """Return true or false.

        Raises:
            InputError: it is another value.
        """
        if not isinstance(self[key], bool):
            raise InputError(f"{key}: {self[key]!r:.60} is not true or false")
        return self[key]

    def schedule(self, key: str) -> tuple[Any, str]:
        """Return a value and its schedule, constant or, of lin_NUMBER, linear.

        Raises:
            InputError: it is another text.
        """
        value = self[key]
        if not isinstance(value, str):
            return value, "constant"
        kind, _, start = value.partition("_")
        try:
            if kind == "lin":
                return float(start), "linear"
        except ValueError:
            pass
        raise InputError(
            f"{key}: {value!r:.60} is neither a number nor lin_NUMBER; a number such as 1e-4 is "
            "text in YAML unless it has a point, 1.0e-4"
        )

    def refuse_others(self, **allowed: object) -> None:
        """Check that hyperparameters have the only value that can be translated.

        Raises:
            InputError: one has another.
        """
        for key, value in allowed.items():
            if self[key] != value:
                raise InputError(f"{key}: {self[key]!r:.60} cannot be translated, only {value!r}")


def read(algorithm: str, entry: Mapping[str, Any]) -> Hyperparameters:
    """Return the hyperparameters of an entry for an algorithm.

    Raises:
        InputError: a key is unknown or missing, or an expression is not allowed.
    """
    defaults = DEFAULTS[algorithm]
    check_keys(entry, {*defaults, *REQUIRED}, "")
    if missing := [key for key in REQUIRED if key not in entry]:
        raise InputError(f"{one_of(missing)} is missing")
    network = NETWORK | (LSTM if algorithm == "ppo_lstm" else {})
    names = ACTIVATIONS.keys() | OPTIMIZERS.keys()
    kwargs = table_of(entry.get("policy_kwargs"), "policy_kwargs", names)
    check_keys(kwargs, network, "policy_kwargs: ")
    return Hyperparameters(algorithm, {**entry, **kwargs}, {**defaults, **network})


def check_keys(found: Mapping[str, Any], known: Mapping[str, Any] | set[str], place: str) -> None:
    """Check that all keys are known.

    Raises:
        InputError: some are not; the message lists them.
    """
    if unknown := [key for key in found if key not in known]:
        near = did_you_mean(unknown[0], known)
        raise InputError(f"{place}{one_of(unknown)} cannot be translated{near}")


def table_of(value: object, key: str, names: Collection[str] = ()) -> dict[str, Any]:
    """Return a table, also of a Python expression with these names; None is empty.

    Raises:
        InputError: it is not one, or the expression is not allowed.
    """
    if isinstance(value, str):
        with prefix_errors(key):
            value = parse(value, names)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{key}: {value!r:.60} is not a table")
    return cast("dict[str, Any]", value)
