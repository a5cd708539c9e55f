"""`config`: print the configuration that flags, file and preset add up to, or one of rl-zoo3's."""

import argparse
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from distpg.config.config import Config, from_toml, hints, presets, with_preset
from distpg.config.derived import DerivedSettings
from distpg.config.files import check_settings, commented, spell, to_toml
from distpg.config.flags import ConfigFlags
from distpg.config.zoo.translation import Translation, translate
from distpg.errors import InputError, prefix_errors

WIDTH = 100
"""Of a line of comments."""


@dataclass(frozen=True, kw_only=True)
class PrintFlags(ConfigFlags):
    """Print all settings as a file for --config, and mark what is not at its default."""

    from_zoo: str | None = None
    """Instead, print what a hyperparameter file of rl-zoo3 (ppo.yml, a2c.yml, trpo.yml,
    ppo_lstm.yml) has for --env-id, and what differs from Stable-Baselines3."""
    entry: str | None = None
    """Entry of --from-zoo, instead of the one named like --env-id."""

    def base(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Return the settings of --from-zoo, else those of --config.

        Raises:
            InputError: the file is invalid, or flags exclude each other.
        """
        translation = translation_of(arguments)
        return super().base(arguments) if translation is None else {**translation.settings}


def main(flags: PrintFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    config = flags.checked()
    if flags.from_zoo is None:
        print("".join(marked_toml(config)), end="")
    else:
        found = translate(flags.from_zoo, str(config.env_id), config.algo, flags.entry)
        print("".join(recipe(config, found)), end="")
    return 0


def translation_of(arguments: Sequence[str]) -> Translation | None:
    """Return what --from-zoo names, before any flag that overrides it.

    Raises:
        InputError: it cannot be translated, or flags exclude each other.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--from-zoo", "--entry", "--env-id", "--algo", "--config"):
        parser.add_argument(name, nargs="?")
    words = [x.replace("_", "-") if x in ("--from_zoo", "--env_id") else x for x in arguments]
    early, _ = parser.parse_known_args(words)
    if early.from_zoo is None:
        if early.entry is not None:
            raise InputError(f"--entry: {early.entry!r} is one of a file; add --from-zoo FILE")
        return None
    if early.config is not None:
        raise InputError(
            f"--config: {early.config} with --from-zoo {early.from_zoo}; omit one of them"
        )
    found = translate(early.from_zoo, early.env_id, early.algo, early.entry)
    with prefix_errors(f"--from-zoo {early.from_zoo}"):
        check_settings(found.settings)
    return found


def marked_toml(config: Config) -> Iterator[str]:
    """Yield the TOML of each resolved setting, with a comment if it is not at its default."""
    settings = tomllib.loads(to_toml(config.resolved()))
    return commented(settings, lambda name: origin(config, name))


def origin(config: Config, name: str) -> str:
    """Return a comment: the preset or default that a setting differs from."""
    value, default = getattr(config, name), getattr(DerivedSettings(), name)
    preset = from_toml(presets()[config.algo])
    if value == preset.get(name, default):
        return "" if value == default else f"preset {config.algo}; default: {spell(default)}"
    source = f"preset {config.algo}" if name in preset else "default"
    return f"{source}: {spell(preset.get(name, default))}"


def recipe(config: Config, found: Translation) -> Iterator[str]:
    """Yield the TOML of a translation, with what other flags changed in it."""
    yield f"# {found.title}, with the defaults of Stable-Baselines3.\n"
    yield "# What differs from Stable-Baselines3 (there):\n"
    for note in found.notes:
        yield textwrap.fill(note, WIDTH, initial_indent="# - ", subsequent_indent="#   ") + "\n"
    base = vars(DerivedSettings()) | with_preset(found.settings)
    changed = {name for name in hints() if getattr(config, name) != base[name]}
    every = tomllib.loads(to_toml(config))
    # tables are last in it
    settings = {name: every[name] for name in every if name in changed | found.settings.keys()}

    def comment(name: str) -> str:
        if name in changed:
            return f"a flag; otherwise {spell(base[name])}"
        return found.sources[name]

    yield from commented(settings, comment)
