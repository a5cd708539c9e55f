"""A file of rl-zoo3, and which of its entries is an environment's."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from distpg.config.values import did_you_mean, one_of
from distpg.errors import InputError

VERSION = re.compile(r"-v\d+$")


def read_entries(file: str) -> dict[str, Any]:
    """Return the entries of a YAML file by name, with aliases and merges resolved.

    Raises:
        InputError: it cannot be read, or is not a table.
    """
    try:
        table: object = yaml.safe_load(Path(file).read_text("utf-8"))
    except (OSError, RecursionError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"--from-zoo: cannot read {file}: {reason:.300}") from error
    if not isinstance(table, dict):
        raise InputError(f"--from-zoo: {file} is not a table of environments")
    entries = cast("dict[object, Any]", table)
    return {str(name): entry for name, entry in entries.items()}


def choose(entries: Mapping[str, Any], env_id: str) -> str:
    """Return the entry of an environment: its own, else `atari` or `default`, as rl-zoo3 does.

    Raises:
        InputError: there is none, or only one of another version of the environment.
    """
    name = env_id.rpartition(":")[2]
    if name in entries:
        return name
    others = [other for other in entries if bare(other) == bare(name)]
    if others:
        raise InputError(
            f"there is no entry {name}, but {one_of(others)}; versions of an environment differ: "
            f"if that is what you want, add --entry {others[0]}"
        )
    if "NoFrameskip-v" in name:
        game = name.partition("NoFrameskip-v")[0]
        raise InputError(f"--env-id: {env_id} is an old name of a game; use --env-id ALE/{game}-v5")
    fallback = "atari" if name.startswith("ALE/") else "default"
    if fallback not in entries:
        raise InputError(
            f"there is no entry {name}, and none of the name {fallback}"
            f"{did_you_mean(name, entries)}; add --entry NAME"
        )
    return fallback


def bare(name: str) -> str:
    """Return the id of an environment without its version."""
    return VERSION.sub("", name)


def find(entries: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the hyperparameters of an entry.

    Raises:
        InputError: there is no such entry, or it is not a table.
    """
    if name not in entries:
        near = did_you_mean(name, entries)
        raise InputError(f"--entry: there is no {name!r}{near}; there are {one_of(entries)}")
    entry = entries[name]
    if not isinstance(entry, dict) or not all(isinstance(key, str) for key in entry):
        raise InputError(f"{name} is not a table of hyperparameters")
    return cast("dict[str, Any]", entry)
