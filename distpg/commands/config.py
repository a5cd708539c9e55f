"""`config`: print the configuration that flags, file and preset add up to."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

import tomli_w

from distpg.config.config import Config, from_toml, presets
from distpg.config.derived import DerivedSettings
from distpg.config.files import spell, to_toml
from distpg.config.flags import ConfigFlags


@dataclass(frozen=True, kw_only=True)
class PrintFlags(ConfigFlags):
    """Print all settings as a file for --config, and mark what is not at its default."""


def main(flags: PrintFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    print("".join(marked_toml(flags.checked())), end="")
    return 0


def marked_toml(config: Config) -> Iterator[str]:
    """Yield the TOML of each resolved setting, with a comment if it is not at its default."""
    settings = tomllib.loads(to_toml(config.resolved()))
    for name, value in settings.items():
        first, newline, others = tomli_w.dumps({name: value}).partition("\n")
        yield f"{first}{origin(config, name)}{newline}{others}"


def origin(config: Config, name: str) -> str:
    """Return a comment: the preset or default that a setting differs from."""
    value, default = getattr(config, name), getattr(DerivedSettings(), name)
    preset = from_toml(presets()[config.algo])
    if value == preset.get(name, default):
        return "" if value == default else f"  # preset {config.algo}; default: {spell(default)}"
    source = f"preset {config.algo}" if name in preset else "default"
    return f"  # {source}: {spell(preset.get(name, default))}"
