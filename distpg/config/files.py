"""Configurations as TOML files: a run's own, a user's, and the recipes that the package ships.

A file holds settings by name, flat. TOML has no null, so an optional setting that is off reads
"none". Every file goes through the same checks as the command line.
"""

import dataclasses
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from distpg.config.config import Config, check_algo, from_toml, hints
from distpg.config.values import check_value, nearest, one_of
from distpg.errors import InputError


def recipes() -> dict[str, str]:
    """Return the text of each recipe that the package ships, by name."""
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
    """Read the settings of a file or, where there is no such file, of a recipe.

    Raises:
        InputError: neither exists, the file is no TOML, or a setting is unknown or out of range.
            Combinations are checked once preset, file and flags are put together.
    """
    path = Path(source)
    try:
        if path.is_file():
            text = path.read_text("utf-8-sig")
        elif source in recipes():
            text = recipes()[source]
        elif path.is_dir():
            raise InputError(f"--config: {source!r} is a folder; name the file (config.toml) in it")
        else:
            raise InputError(
                f"--config: {source!r} is neither a file nor a recipe; the recipes are "
                f"{one_of(recipes())}{nearest(source, recipes())}"
            )
        settings = from_toml(tomllib.loads(text))
        check_algo(settings.get("algo", "ppo"))
        for name, value in settings.items():
            check_value(name, value, hints()[name])
    except InputError as error:
        problem = str(error)
        raise InputError(
            problem if problem.startswith("--config:") else f"--config {source}: {problem}"
        ) from error
    except (OSError, RecursionError, ValueError) as error:
        raise InputError(f"--config: cannot read {source}: {error}") from error
    return settings


def load_config(source: str, **changes: Any) -> Config:
    """Make the configuration of a file or recipe, with some settings changed."""
    return Config(**{**read_settings(source), **changes})


def to_toml(config: Config) -> str:
    """Write a configuration out complete, in a form that `read_settings` takes back."""
    settings: dict[str, Any] = {}
    for setting in dataclasses.fields(Config):
        value = getattr(config, setting.name)
        settings[setting.name] = "none" if value is None else value
    return tomli_w.dumps(settings)
