"""`Config`: the validated settings of a run."""

import dataclasses
import functools
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Self, TypeVar

from distpg.config.calls import read_call
from distpg.config.combinations import check_combinations
from distpg.config.derived import DerivedSettings
from distpg.config.names import OF_OBJECTS, as_name, as_names
from distpg.config.values import check_value, did_you_mean, flag, is_toml, one_of
from distpg.errors import InputError

Settings = TypeVar("Settings", bound=DerivedSettings)


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Return the settings of each preset, by algorithm."""
    folder = resources.files("distpg.config") / "presets"
    return {
        file.name.removesuffix(".toml"): tomllib.loads(file.read_text("utf-8"))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".toml")
    }


def with_preset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings on top of the preset that their `algo` names.

    Raises:
        InputError: there is no such preset.
    """
    algo = settings.get("algo", "ppo")
    check_algo(algo)
    return {**from_toml(presets()[algo]), **settings}


def starting_from_preset(kind: type[Settings]) -> type[Settings]:
    """Class decorator: make keywords override the preset, and the preset the field defaults."""
    assign = kind.__init__

    @functools.wraps(assign)
    def initialize(self: Settings, **settings: Any) -> None:
        check_names(settings)
        assign(self, **with_preset(settings))

    kind.__init__ = initialize
    return kind


@starting_from_preset
@dataclass(frozen=True, kw_only=True)
class Config(DerivedSettings):
    """All settings of a run, validated on construction.

    Raises:
        InputError: a setting is unknown, has the wrong type or is out of range, or a combination
            is illegal.
    """

    def __post_init__(self) -> None:
        """Name the objects; validate each value by its annotation, then the combinations."""
        for name in OF_OBJECTS:
            object.__setattr__(self, name, as_names(getattr(self, name)))
        for name in hints():
            check_setting(name, getattr(self, name))
        check_combinations(self)

    def resolved(self) -> Self:
        """Return a copy with the defaults that depend on other settings filled in.

        Of watchers only the names are left: they are objects of the driver's process alone.
        """
        return dataclasses.replace(
            self,
            watcher=tuple(map(str, self.watcher)),
            num_slots=self.slots,
            episodes_per_env=self.episodes,
            sign_rewards="on" if self.signed else "off",
        )


@cache
def hints() -> dict[str, Any]:
    """Return the annotation of each setting, with its range."""
    return typing.get_type_hints(DerivedSettings, include_extras=True)


def check_setting(name: str, value: Any) -> None:
    """Check the value of a setting by itself.

    Raises:
        InputError: it is not allowed, whatever the other settings are.
    """
    if name == "algo":
        check_algo(value)
    check_value(name, value, hints()[name])
    if name == "env_kwargs" and not is_toml(value):
        raise InputError(
            f"--env-kwargs: {value} cannot be stored as TOML (allowed: numbers, strings, booleans, "
            "lists, tables; no null)"
        )
    if name in ("env_wrapper", "watcher"):
        for call in value:
            read_call(as_name(call), flag(name))
    if name in ("env_id", "address", "init_from", "encoder") and value == "":
        # most often an unset shell variable
        raise InputError(f"{flag(name)}: '' is empty; pass a name or omit the flag")
    if name == "image_keys" and not all(value or [""]):
        raise InputError(
            f"--image-keys: {value} has no name; pass names of observations, auto or none"
        )


def from_toml(settings: dict[str, Any]) -> dict[str, Any]:
    """Convert TOML values to setting values: lists to tuples, and "none" to None.

    Raises:
        InputError: a key is not a setting.
    """
    check_names(settings)
    values: dict[str, Any] = {}
    for name, value in settings.items():
        optional = type(None) in typing.get_args(hints()[name])
        if isinstance(value, list):
            value = tuple(typing.cast("list[object]", value))
        values[name] = None if optional and value == "none" else value
        if name == "compile" and isinstance(value, bool):
            # of files that are older than auto
            values[name] = "on" if value else "off"
    return values


def check_names(names: Iterable[str]) -> None:
    """Check that every name is a setting.

    Raises:
        InputError: one is not; the message suggests similar names.
    """
    for name in names:
        if name not in hints():
            raise InputError(f"{name}: no such setting{did_you_mean(name, hints())}")


def check_algo(algo: object) -> None:
    """Check that there is a preset for the algorithm.

    Raises:
        InputError: there is none; the message lists the presets.
    """
    if not isinstance(algo, str) or algo not in presets():
        raise InputError(f"--algo: {algo!r} is not an algorithm; choose from {one_of(presets())}")
