"""`Config`: the settings of a run, starting from a preset, and checked."""

import dataclasses
import functools
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Self, TypeVar

from distpg.config.combinations import check_combinations
from distpg.config.derived import DerivedSettings
from distpg.config.values import check_value, did_you_mean, flag, is_toml, one_of
from distpg.errors import InputError

Settings = TypeVar("Settings", bound=DerivedSettings)


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Read the presets that the package ships: for each algorithm's name, its settings."""
    folder = resources.files("distpg.config") / "presets"
    return {
        file.name.removesuffix(".toml"): tomllib.loads(file.read_text("utf-8"))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".toml")
    }


def with_preset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the preset of `algo` sets and the settings do not.

    Raises:
        InputError: there is no such preset.
    """
    algo = settings.get("algo", "ppo")
    check_algo(algo)
    return {**from_toml(presets()[algo]), **settings}


def starting_from_preset(kind: type[Settings]) -> type[Settings]:
    """Class decorator: the keywords override the preset that `algo` names, it the defaults."""
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
    """The whole configuration of a run; checked when it is made.

    Raises:
        InputError: a value of the wrong type or out of range, or an illegal combination.
    """

    def __post_init__(self) -> None:
        """Check each value against its annotation, then the combinations."""
        for name, hint in hints().items():
            check_value(name, getattr(self, name), hint)
        if not is_toml(self.env_kwargs):
            raise InputError(
                f"--env-kwargs: {self.env_kwargs} cannot be kept in a TOML file, which takes "
                "numbers, text, true, false, and lists and tables of these, but no null"
            )
        for name in ("env_id", "address", "init_from", "encoder"):
            if getattr(self, name) == "":
                # a shell variable that is not set, as a rule
                raise InputError(f"{flag(name)}: '' names nothing; give a name or leave it out")
        check_combinations(self)

    def resolved(self) -> Self:
        """Write out what the defaults leave open and the settings alone decide."""
        return dataclasses.replace(
            self,
            num_slots=self.slots,
            episodes_per_env=self.episodes,
            sign_rewards="on" if self.signed else "off",
        )


@cache
def hints() -> dict[str, Any]:
    """Annotations of all settings, with their ranges."""
    return typing.get_type_hints(DerivedSettings, include_extras=True)


def from_toml(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn TOML's values into a setting's: lists are tuples, and "none" stands for None.

    Raises:
        InputError: a key that is no setting.
    """
    check_names(settings)
    values: dict[str, Any] = {}
    for name, value in settings.items():
        optional = type(None) in typing.get_args(hints()[name])
        if isinstance(value, list):
            value = tuple(typing.cast("list[object]", value))
        values[name] = None if optional and value == "none" else value
    return values


def check_names(names: Iterable[str]) -> None:
    """Refuse what is not the name of a setting.

    Raises:
        InputError: suggests the did_you_mean name.
    """
    for name in names:
        if name not in hints():
            raise InputError(f"{name}: no such setting{did_you_mean(name, hints())}")


def check_algo(algo: object) -> None:
    """Refuse what is no preset's name.

    Raises:
        InputError: lists the presets.
    """
    if not isinstance(algo, str) or algo not in presets():
        raise InputError(f"--algo: {algo!r} is not an algorithm; choose {one_of(presets())}")
