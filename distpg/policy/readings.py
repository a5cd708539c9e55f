"""How each leaf of an observation is read and encoded, in words."""

from distpg.config.config import Config
from distpg.errors import InputError
from distpg.policy.architecture import IMAGE_FEATURES, looks_up
from distpg.spaces import Leaf, ObsSpec

PICTURES = {
    "HW": "gray picture",
    "HWC": "picture, channels last",
    "CHW": "picture, channels first",
    "SHWC": "stack of pictures, channels last",
    "SCHW": "stack of pictures, channels first",
}


def describe_leaf(leaf: Leaf, obs_spec: ObsSpec, config: Config) -> str:
    """Return shape and type of a leaf, what it is read as, and what encodes it."""
    found = f"{list(leaf.shape)} {leaf.dtype}, read as {reading(leaf, config)}"
    if leaf.kind == "mask":
        return found
    return f"{found}; encoder: {encoding(leaf, obs_spec, config)}"


def check_readings(saved: ObsSpec, found: ObsSpec, config: Config) -> None:
    """Check that a run's leaves are read as they were when it was saved.

    Raises:
        InputError: one is not, or the leaves are others.
    """
    if saved.arrays != found.arrays:
        raise InputError("its observations differ from those of the environment")
    for before, now in zip(saved.leaves, found.leaves, strict=True):
        if before != now:
            raise InputError(
                f"observation {now.name} was read as {reading(before, config)} when it was saved, "
                f"and is {reading(now, config)} now; image_keys in its config.toml names the "
                "pictures"
            )


def reading(leaf: Leaf, config: Config) -> str:
    """Return what a leaf is read as."""
    if leaf.kind == "image":
        return f"{PICTURES[leaf.layout]}, divided by {leaf.scale:g}"
    if leaf.kind == "categories":
        return f"categories, {sum(leaf.sizes):,} in all"
    if leaf.kind == "mask":
        return "action mask"
    why = f" ({leaf.note})" if leaf.note else ""
    return f"vector{why}{', standardized' if config.normalize_obs else ''}"


def encoding(leaf: Leaf, obs_spec: ObsSpec, config: Config) -> str:
    """Return what encodes a leaf, and what it costs to look up many categories."""
    if config.encoder is not None:
        return str(config.encoder)
    if leaf.kind == "image":
        return f"{config.image_encoder}, {IMAGE_FEATURES[config.image_encoder]} features"
    kinds = {other.kind for other in obs_spec.inputs}
    if not config.hidden_sizes:
        is_table = kinds == {"categories"} and config.recurrent == "none"
        return f"table of {sum(leaf.sizes):,} rows" if is_table else "none, linear"
    layers = f"hidden layers {' '.join(map(str, config.hidden_sizes))}"
    if leaf.kind != "categories" or not looks_up(obs_spec):
        return layers
    apart = config.baseline == "value" and "image" not in kinds and config.recurrent == "none"
    critic = ", and as many in the critic" if apart else ""
    return f"{layers}, {sum(leaf.sizes) * config.hidden_sizes[0]:,} parameters{critic}"
