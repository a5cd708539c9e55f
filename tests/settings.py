"""Configurations from dictionaries, which tests put together from several."""

from typing import Any

from distpg.config.config import Config


def config_of(settings: dict[str, Any]) -> Config:
    """Make a configuration; a checker cannot tell what such a dictionary holds."""
    return Config(**settings)
