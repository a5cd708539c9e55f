"""What a policy's networks are made of: plain values, saved with the weights, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distpg.config import PolicySettings
from distpg.values import check_fields


@dataclass(frozen=True)
class Architecture:
    """The settings that decide the networks' shapes."""

    hidden_sizes: tuple[int, ...]
    activation: str
    normalize_obs: bool
    precision: str = "float32"
    """Of the image encoders."""

    @classmethod
    def of(cls, settings: PolicySettings) -> "Architecture":
        """Take the architecture out of the settings."""
        return cls(
            settings.hidden_sizes, settings.activation, settings.normalize_obs, settings.precision
        )

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> "Architecture":
        """Read back what `dataclasses.asdict` wrote as JSON.

        Raises:
            InputError: a value that no setting takes.
        """
        fields: dict[str, Any] = {**described, "hidden_sizes": tuple(described["hidden_sizes"])}
        check_fields(PolicySettings, fields)
        return cls(**fields)
