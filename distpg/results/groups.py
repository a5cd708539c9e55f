"""Groups of runs, each a curve: runs of the same settings but the seed, or of the same value."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distpg.config.config import hints
from distpg.config.files import spell
from distpg.config.values import did_you_mean
from distpg.errors import InputError
from distpg.results.runs import find_runs, is_run
from distpg.results.sb3 import is_sb3, sb3_source
from distpg.results.series import Source, source_of

ABSENT = "?"
"""In place of a setting that a run of another version does not have."""


@dataclass(frozen=True)
class Group:
    """Runs on the same environment that are one curve."""

    env_id: str
    label: str
    sources: tuple[Source, ...]

    def notes(self) -> Iterator[str]:
        """Yield what makes its interval other than one over seeds."""
        seeds = [x.seed for x in self.sources if x.seed is not None]
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            yield f"{self}: it has several runs of seed {', '.join(map(str, twice))}"
        mixed = [*differing([x.settings for x in self.sources])]
        if mixed:
            yield f"{self}: its runs differ in {', '.join(mixed)}"

    def __str__(self) -> str:
        return f"{self.env_id or 'environment not known'}, {self.label}"


def find_sources(given: Sequence[Path]) -> tuple[list[Source], list[str]]:
    """Find the runs that paths name or contain.

    Returns:
        The runs, each once, and notes on those that are left out because a file cannot be read.

    Raises:
        InputError: a path has none, or none can be read.
    """
    found: dict[Path, Source] = {}
    errors: dict[Path, InputError] = {}
    for folder in given:
        paths = [*find_runs(folder, lambda names: is_run(names) or is_sb3(names))]
        if not paths:
            raise InputError(
                f"{folder} is neither a run nor a folder of runs: nothing in it is a run directory "
                "or has event or monitor files of Stable-Baselines3"
            )
        for path in paths:
            try:
                found.setdefault(path.resolve(), read_source(path))
            except InputError as error:
                errors[path.resolve()] = error
    if errors and not found:
        raise next(iter(errors.values()))
    return [*found.values()], [f"left out: {error}" for error in errors.values()]


def read_source(path: Path) -> Source:
    """Return a run of distpg or of Stable-Baselines3.

    Raises:
        InputError: a file of it cannot be read.
    """
    try:
        names = [file.name for file in path.iterdir()]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return source_of(path) if is_run(names) else sb3_source(path)


def place_unnamed(sources: Sequence[Source]) -> tuple[list[Source], list[str]]:
    """Take runs whose files do not name the environment for runs on that of all others.

    Returns:
        The runs, and what was assumed of which.
    """
    known = {source.env_id for source in sources if source.env_id}
    if len(known) != 1:
        return [*sources], []
    (env_id,) = known
    placed = [source if source.env_id else replace(source, env_id=env_id) for source in sources]
    notes = [
        f"{source.path}: its files do not name the environment; taken for {env_id}, as the others"
        for source in sources
        if not source.env_id
    ]
    return placed, notes


def check_setting(name: str) -> str:
    """Return the name of a setting to group by, also if it is spelled like its flag.

    Raises:
        InputError: there is no such setting.
    """
    setting = name.removeprefix("--").replace("-", "_")
    if setting not in hints():
        raise InputError(f"--by: {name!r} is not a setting{did_you_mean(setting, hints())}")
    return setting


def group_runs(sources: Sequence[Source], by: str | None) -> list[Group]:
    """Group runs: those of the same settings but the seed, or of the same value of a setting.

    Runs of another environment or another library are other groups in any case.
    """
    groups: dict[tuple[str, ...], list[Source]] = {}
    for source in sources:
        value = text_of(source.settings) if by is None else value_text(source, by)
        key = (place_of(source), source.library, "" if by else source.algo, value)
        groups.setdefault(key, []).append(source)
    members = [*groups.values()]
    return [Group(own[0].env_id, label_of(own[0], members, by), tuple(own)) for own in members]


def place_of(source: Source) -> str:
    """Return the environment of a run, or the folder that it is in if that is not known."""
    return source.env_id or str(source.path.parent)


def label_of(source: Source, groups: Sequence[Sequence[Source]], by: str | None) -> str:
    """Return what tells the group of a run from the others on its environment."""
    if by is not None:
        value = value_text(source, by)
        unknown = {place_of(other) for (other, *_) in groups if not other.env_id}
        if not source.env_id and len(unknown) > 1:
            return f"{value}, folder={place_of(source)}"
        return value if by == "algo" or source.library != "distpg" else f"{by}={value}"
    alike = [
        other.settings
        for (other, *_) in groups
        if (other.env_id, other.library, other.algo) == (source.env_id, source.library, source.algo)
    ]
    parts = [f"{name}={setting_text(source.settings, name)}" for name in differing(alike)]
    return ", ".join([source.algo, *parts])


def differing(settings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the names of the settings that are not the same everywhere."""
    names = dict.fromkeys(name for one in settings for name in one)
    for name in names:
        if len({setting_text(one, name) for one in settings}) > 1:
            yield name


def value_text(source: Source, by: str) -> str:
    """Return a run's value of a setting; another library has none but the algorithm."""
    if by == "algo" or source.library != "distpg":
        return source.algo
    return setting_text(source.settings, by)


def setting_text(settings: Mapping[str, Any], name: str) -> str:
    """Write the value of a setting; a name without quotation marks."""
    if name not in settings:
        return ABSENT
    value = settings[name]
    return value if isinstance(value, str) else spell(value)


def text_of(settings: Mapping[str, Any]) -> str:
    """Return all settings as one text, the same for equal settings."""
    return json.dumps(settings, sort_keys=True, default=str)
