"""Settings as TOML files: those of a run, of a user, and the recipes shipped with the package.

A file is a flat table of settings. TOML has no null, so None is written as "none". Values from a
file are validated like those from the command line.
"""

import dataclasses
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from distpg.config.config import Config, check_algo, check_names, from_toml, hints
from distpg.config.derived import DerivedSettings
from distpg.config.values import check_value, did_you_mean, one_of
from distpg.errors import InputError, prefix_errors


def recipes() -> dict[str, str]:
    """Return the TOML text of each recipe, by name."""
    folder = resources.files("distpg.config") / "recipes"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return {
        file.name.removesuffix(".toml"): file.read_text("utf-8")
        for file in files
        if file.name.endswith(".toml")
    }


def measurements() -> dict[str, str]:
    """Return what recipes reached, by name; the others have not been measured."""
    file = resources.files("distpg.config") / "measured.toml"
    return tomllib.loads(file.read_text("utf-8"))


def read_settings(source: str) -> dict[str, Any]:
    """Read the settings of a file, or of a recipe if there is no such file.

    Combinations are checked later, when preset, file and flags are merged.

    Raises:
        InputError: neither exists, the file is not TOML, or a setting is unknown or out of range.
    """
    try:
        table = tomllib.loads(read_text(source))
    except InputError:
        raise
    except (OSError, RecursionError, ValueError) as error:
        raise InputError(f"--config: cannot read {source}: {error}") from error
    with prefix_errors(f"--config {source}"):
        settings = from_toml(table)
        check_settings(settings)
    return settings


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check names and values of settings, but not their combinations.

    Raises:
        InputError: a setting is unknown or out of range.
    """
    check_names(settings)
    check_algo(settings.get("algo", "ppo"))
    for name, value in settings.items():
        check_value(name, value, hints()[name])


def read_text(source: str) -> str:
    """Return the text of a file or recipe.

    Raises:
        InputError: neither exists.
    """
    path = Path(source)
    if path.is_file():
        return path.read_text("utf-8-sig")
    if source in recipes():
        return recipes()[source]
    if path.is_dir():
        raise InputError(f"--config: {source!r} is a folder; pass the config.toml in it")
    raise InputError(
        f"--config: {source!r} is neither a file nor a recipe; the recipes are "
        f"{one_of(recipes())}{did_you_mean(source, recipes())}"
    )


def load_config(source: str, **changes: Any) -> Config:
    """Return the configuration of a file or recipe, with some settings changed.

    Args:
        source: Path of a TOML file, or name of a recipe such as "cartpole-ppo".
        changes: Settings that override those of the file.

    Raises:
        InputError: the file or a setting is invalid.
    """
    return Config(**{**read_settings(source), **changes})


def spell(value: object) -> str:
    """Spell a setting's value as TOML does; no setting is a date, but a file may have one."""
    return json.dumps("none" if value is None else value, default=str)


def changed_settings(config: Config) -> dict[str, Any]:
    """Return the defaults of the settings that are not at their default, by name."""
    defaults = vars(DerivedSettings())
    return {name: x for name, x in defaults.items() if getattr(config, name) != x}


def to_toml(config: Config) -> str:
    """Return all settings as TOML text, which `read_settings` can read back."""
    settings: dict[str, Any] = {}
    for setting in dataclasses.fields(Config):
        value = getattr(config, setting.name)
        settings[setting.name] = "none" if value is None else value
    return tomli_w.dumps(settings)


def commented(settings: Mapping[str, Any], comment: Callable[[str], str]) -> Iterator[str]:
    """Yield the TOML of each setting, with its comment, if any, after its first line.

    Tables must be the last settings, as in what `tomllib` reads.
    """
    for name, value in settings.items():
        first, newline, others = tomli_w.dumps({name: value}).partition("\n")
        text = comment(name)
        yield f"{first}{text and f'  # {text}'}{newline}{others}"
