"""Command-line flags of the settings: defaults < preset of --algo < --config < flags."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry

from distpg.config.config import Config, hints, with_preset
from distpg.config.files import read_settings
from distpg.config.flag_types import make_registry, registry
from distpg.config.settings import (
    CollectSettings,
    EnvSettings,
    GradientSettings,
    LearnerSettings,
    PolicySettings,
    RunSettings,
)
from distpg.config.values import one_of
from distpg.errors import InputError

COMPLETION = "--tyro-print-completion"
SHELLS = ("bash", "zsh", "fish")
COMMON = {
    *("algo", "seed", "total_steps", "stop_at_return", "eval_every"),
    *("env_id", "env_kwargs", "num_envs"),
    *("num_workers", "num_steps"),
    *("advantage", "gamma", "gae_lambda", "surrogate", "clip_coef", "ent_coef"),
    *("hidden_sizes", "normalize_obs"),
    *("num_epochs", "minibatch_size", "learning_rate", "normalize_rewards", "device"),
}
"""Settings that --help describes; it lists the others by name, and --help-all describes all."""

brief_registry = make_registry(only_named=hints().keys() - COMMON)


@dataclass(frozen=True, kw_only=True)
class FlagsWithFile:
    """Flags of a sub-command that are settings; --config sets their defaults."""

    config: str | None = None
    """A configuration file, or the name of a recipe that ships with the package."""

    def starting_from(self, settings: Mapping[str, Any]) -> Self:
        """Replace the defaults of some settings, unchecked."""
        return replace(self, **{name: settings[name] for name in vars(self) if name in settings})

    def base(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Return the settings that the other flags override.

        Raises:
            InputError: a file is invalid, or conflicts with the other flags.
        """
        return base_settings(arguments)


@dataclass(frozen=True, kw_only=True)
class ConfigFlags(FlagsWithFile):
    """All settings, in the groups of the help; a sub-command adds flags of its own."""

    help_all: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show this help with every setting described."""
    run: RunSettings = field(default_factory=RunSettings)
    environment: EnvSettings = field(default_factory=EnvSettings)
    collection: CollectSettings = field(default_factory=CollectSettings)
    estimator: Annotated[GradientSettings, tyro.conf.arg(name="gradient estimator")] = field(
        default_factory=GradientSettings
    )
    policy: PolicySettings = field(default_factory=PolicySettings)
    learner: LearnerSettings = field(default_factory=LearnerSettings)

    def starting_from(self, settings: Mapping[str, Any]) -> Self:
        """Replace the defaults of some settings, unchecked."""
        groups = {
            name: replace(group, **{key: settings[key] for key in vars(group) if key in settings})
            for name, group in self.groups().items()
        }
        return replace(self, **groups)

    def checked(self) -> Config:
        """Return the settings as a validated `Config`.

        Raises:
            InputError: a value is out of range, or a combination is illegal.
        """
        groups = self.groups().values()
        return Config(**{name: value for group in groups for name, value in vars(group).items()})

    def groups(self) -> dict[str, Any]:
        """Return the groups of settings, by the names of their fields."""
        return {name: value for name, value in vars(self).items() if is_dataclass(value)}


@dataclass(frozen=True, kw_only=True)
class RunFlags(ConfigFlags):
    """The settings, and the directory of the new run."""

    run_dir: Path | None = None
    """Directory of the run. Default: runs/ENV/ALGO-sSEED-TIME, or imitate-sSEED-TIME."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace the run in --run-dir."""
    quiet: bool = False
    """Print nothing but errors."""
    json_lines: bool = False
    """Print JSON: an object for each iteration and message, and the result as the last one."""


Flags = TypeVar("Flags")


def read_flags(kind: type[Flags], arguments: Sequence[str], program: str) -> Flags:
    """Parse a sub-command's flags; --config and --algo set the defaults of the settings.

    Args:
        kind: A dataclass; each field has a default, or `tyro.MISSING` if it is required.
        arguments: The words after the sub-command.
        program: The names of the program and the sub-command, for messages.

    Raises:
        InputError: --config or --algo is invalid, or they conflict.
        SystemExit: tyro printed help or an error.
    """
    default = kind()
    if isinstance(default, FlagsWithFile):
        default = default.starting_from(with_preset(default.base(arguments)))
    if not isinstance(default, ConfigFlags):
        return call_tyro(kind, arguments, program, default)
    asked = {word.replace("_", "-") for word in arguments} & {"-h", "--help", "--help-all"}
    if not asked:
        return call_tyro(kind, arguments, program, default)
    rules = registry if "--help-all" in asked else brief_registry
    return call_tyro(kind, ["--help"], program, default, rules)


def call_tyro(
    kind: type[Flags],
    arguments: Sequence[str],
    program: str,
    default: Any = tyro.MISSING,
    rules: ConstructorRegistry = registry,
) -> Flags:
    """Call tyro in the way that all sub-commands do.

    Raises:
        InputError: a completion script is asked for an unknown shell.
        SystemExit: tyro printed help, an error or a completion script.
    """
    option, shell = (*arguments, "", "")[:2]
    if option == COMPLETION and shell not in SHELLS:
        raise InputError(f"{COMPLETION}: {shell!r} is not supported; choose {one_of(SHELLS)}")
    return tyro.cli(
        kind,
        prog=program,
        args=arguments,
        default=default,
        config=(tyro.conf.OmitArgPrefixes,),
        registry=rules,
    )


def base_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the settings of --config, with --algo, before any other flag.

    Raises:
        InputError: the file is invalid, or sets another algorithm than --algo.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--algo", nargs="?")
    parser.add_argument("--config", nargs="?")
    early, _ = parser.parse_known_args(arguments)
    settings = {} if early.config is None else read_settings(early.config)
    if early.algo is not None:
        algo = settings.get("algo", early.algo)
        if algo != early.algo:
            raise InputError(
                f"--algo: {early.algo}, but --config {early.config} sets algo = {algo}; omit one "
                "of them"
            )
        settings["algo"] = early.algo
    return settings
