"""Every setting as a command-line flag: defaults < preset of --algo < --config < flags."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from distpg.config.config import Config, hints, with_preset
from distpg.config.derived import DerivedSettings
from distpg.config.files import read_settings
from distpg.config.settings import EnvKwargs
from distpg.errors import InputError

registry = ConstructorRegistry()


@registry.primitive_rule
def json_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[EnvKwargs] | None:
    """Read a table from JSON on the command line."""
    if info.type_origin is not dict:
        return None

    def parse(words: list[str]) -> EnvKwargs:
        try:
            value: Any = json.loads(words[0])
        except (RecursionError, ValueError):
            value = None
        if not isinstance(value, dict):
            raise ValueError(f'{words[0]!r:.60} is not a JSON object such as {{"key": 1}}')
        return cast("EnvKwargs", value)

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=parse,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [json.dumps(value)],
    )


@registry.primitive_rule
def list_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[tuple[int, ...]] | None:
    """Read a list of whole numbers, and say how one is written where it is not."""
    if info.type_origin is not tuple:
        return None

    def parse(words: list[str]) -> tuple[int, ...]:
        try:
            return tuple(map(int, words))
        except ValueError:
            raise ValueError(f"{' '.join(words)!r} is no list such as 64 64") from None

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="[INT ...]",
        instance_from_str=parse,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [str(number) for number in value],
    )


@registry.primitive_rule
def none_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[None] | None:
    """Spell None as configuration files do."""
    if info.type is not type(None):
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="none",
        instance_from_str=lambda words: None,
        is_instance=lambda value: value is None,
        str_from_instance=lambda value: ["none"],
        choices=("none",),
    )


@dataclass(frozen=True, kw_only=True)
class ConfigFlags(DerivedSettings):
    """The settings, and the file that they may come from; a sub-command adds flags of its own."""

    config: str | None = None
    """A configuration file, or the name of a recipe that comes with the package."""

    def checked(self) -> Config:
        """Return the settings alone.

        Raises:
            InputError: a value is out of range, or a combination illegal.
        """
        return Config(**{name: getattr(self, name) for name in hints()})


@dataclass(frozen=True, kw_only=True)
class RunFlags(ConfigFlags):
    """The settings, and where the new run is kept."""

    run_dir: Path | None = None
    """Where the run is kept. Default: runs/ENV/ALGO-sSEED-TIME, or imitate-sSEED-TIME."""
    overwrite: bool = False
    """Replace the run that --run-dir holds."""
    quiet: bool = False
    """Print nothing but errors."""


Flags = TypeVar("Flags", bound=ConfigFlags)


def read_flags(kind: type[Flags], arguments: Sequence[str], program: str) -> Flags:
    """Read a sub-command's flags, on top of what --config and --algo say."""
    return tyro.cli(
        kind,
        prog=program,
        args=arguments,
        default=kind(**with_preset(settings_before_flags(arguments))),
        registry=registry,
    )


def settings_before_flags(arguments: Sequence[str]) -> dict[str, Any]:
    """Read what --config and --algo say, which decide the defaults of all other flags."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--algo", nargs="?")
    parser.add_argument("--config", nargs="?")
    early, _ = parser.parse_known_args(arguments)
    settings = {} if early.config is None else read_settings(early.config)
    if early.algo is not None:
        algo = settings.get("algo", early.algo)
        if algo != early.algo:
            raise InputError(
                f"--algo: {early.algo}, but {early.config} configures {algo}; leave one out"
            )
        settings["algo"] = early.algo
    return settings
