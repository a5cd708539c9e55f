"""The architecture of a policy: plain values, saved with the weights; needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from distpg.config.names import Importable
from distpg.config.settings import PolicySettings
from distpg.config.values import check_fields
from distpg.errors import InputError
from distpg.policy.action_units import BOUNDED
from distpg.spaces import ActionSpec, ObsSpec

IMAGE_FEATURES = {"nature": 512, "impala": 256}
"""Features by image encoder."""
MAX_ONE_HOT = 2**12
"""More categories than these are looked up."""


def looks_up(obs_spec: ObsSpec) -> bool:
    """Return whether an observation has so many categories that they are looked up."""
    return sum(sum(leaf.sizes) for leaf in obs_spec.inputs) > MAX_ONE_HOT


@dataclass(frozen=True)
class Architecture:
    """The settings that determine the networks."""

    hidden_sizes: tuple[int, ...]
    activation: str
    normalize_obs: bool
    precision: str = "float32"
    """Of the image encoders."""
    action_distribution: str = "gaussian"
    action_scale: str = "unit"
    """As of policies that are older than the setting."""
    sde_sample_freq: int = 0
    log_std: str = "free"
    recurrent: str = "none"
    recurrent_size: int = 128
    recurrent_layers: int = 1
    recurrent_critic: str = "shared"
    value_hidden_sizes: tuple[int, ...] | None = None
    clip_obs: float = 10.0
    orthogonal_init: bool = True
    log_std_init: float = 0.0
    image_encoder: Literal["nature", "impala"] = "nature"
    encoder: Importable | None = None
    """A class, or its name."""

    @property
    def recurrent_state_size(self) -> int:
        """Size of the recurrent state of an env; an LSTM has two numbers for each unit."""
        units = self.recurrent_size * self.recurrent_layers
        return units * {"none": 0, "gru": 1, "lstm": 2}[self.recurrent]

    @property
    def of_critic(self) -> "Architecture":
        """That of a critic that shares no layer with the policy."""
        sizes, own = self.value_hidden_sizes, self.recurrent_critic == "own"
        return replace(
            self,
            hidden_sizes=self.hidden_sizes if sizes is None else sizes,
            recurrent=self.recurrent if own else "none",
        )

    @classmethod
    def of(cls, settings: PolicySettings) -> "Architecture":
        """Select the architecture from the settings."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> "Architecture":
        """Read back what `dataclasses.asdict` wrote as JSON; a class is named there.

        Raises:
            InputError: a value that the setting does not allow.
        """
        fields: dict[str, Any] = {
            **described,
            **{name: tuple(value) for name, value in described.items() if isinstance(value, list)},
        }
        check_fields(PolicySettings, fields)
        return cls(**fields)

    def check(self, obs_spec: ObsSpec, actions: ActionSpec) -> None:
        """Refuse a distribution of continuous actions that the spaces do not allow.

        A bounded one needs finite bounds, and gSDE needs features.

        Raises:
            InputError: names the flag and the space.
        """
        if actions.kind != "continuous":
            return
        if self.action_distribution in BOUNDED and not actions.is_bounded.all():
            entry = int(np.argmin(actions.is_bounded))
            low, high = (bound[entry] for bound in actions.bounds)
            raise InputError(
                f"--action-distribution: {self.action_distribution} needs finite bounds (less "
                f"than {actions.infinity:.2g}), and action {entry} of {len(actions.low)} has "
                f"[{low:g}, {high:g}]; use --action-distribution gaussian"
            )
        if self.action_distribution == "gsde" and self.is_lookup(obs_spec):
            raise InputError(
                "--action-distribution: gsde needs the features of a hidden layer, and a table of "
                f"more than {MAX_ONE_HOT} categories has none; use --hidden-sizes or "
                "--action-distribution gaussian"
            )

    def is_lookup(self, obs_spec: ObsSpec) -> bool:
        """Return whether the heads look up rows of a table, so that there are no features."""
        categories = all(leaf.kind == "categories" for leaf in obs_spec.inputs)
        has_layers = bool(self.hidden_sizes) or self.recurrent != "none" or self.encoder is not None
        return categories and not has_layers and looks_up(obs_spec)
