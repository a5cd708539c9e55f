"""What a study searches, from TOML: settings in common, a range or list for others, and how.

A file has `trials`, and optionally `base`, `seeds`, `rungs`, `objective` and `sampler_seed`;
`[settings]` that all trials have in common, over those of the recipe or file `base`; `[space]` with
what is searched; and optionally `[pruner]`.
"""

import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tomli_w

from distpg.config.config import Config, from_toml
from distpg.config.files import check_settings, read_settings
from distpg.config.settings import Count, Seed
from distpg.config.values import Range, did_you_mean, make_from_toml
from distpg.errors import InputError, prefix_errors
from distpg.tuning.dimensions import Dimension, dimension_of
from distpg.tuning.pruners import Median, Pruner, pruner_of

Objective = Literal["last_100_training_episodes", "last_evaluation"]
"""What a run reached: the mean return of the last 100 episodes of training, or of the last
evaluation in the course of training."""
Above0 = Annotated[float, Range(0, open_low=True)]


@dataclass(frozen=True, kw_only=True)
class Space:
    """A study before it begins."""

    name: str
    trials: Count
    settings: Mapping[str, Any]
    """What all trials have in common, those of a base included."""
    dimensions: Mapping[str, Dimension]
    """What is searched, by setting."""
    seeds: tuple[Seed, ...] = (0,)
    """Each trial is trained with all of them."""
    rungs: tuple[Above0, ...] = ()
    """Where trials are compared: env steps, or parts of `total_steps`, without the end."""
    objective: Objective = "last_100_training_episodes"
    pruner: Pruner = field(default_factory=Median)
    sampler_seed: Seed = 0
    """Random seed of Optuna's sampler."""
    record: Mapping[str, Any]
    """All of it as TOML values."""

    def __post_init__(self) -> None:
        """Check seeds, rungs, and that settings go together.

        Raises:
            InputError: they do not.
        """
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds: {list(self.seeds)} is not a list of different seeds")
        if not self.dimensions:
            raise InputError("space: it is empty; name at least one setting")
        config = self.some_config()
        self._check_rungs(config.total_steps)
        if self.objective == "last_evaluation" and not config.eval_every:
            raise InputError("objective: last_evaluation needs the setting eval_every")

    def _check_rungs(self, total_steps: int) -> None:
        parts = [rung for rung in self.rungs if isinstance(rung, float)]
        limit = 1 if parts else total_steps
        if parts and len(parts) < len(self.rungs):
            raise InputError(f"rungs: {list(self.rungs)} has env steps and parts; use one of them")
        if any(rung >= limit for rung in self.rungs):
            raise InputError(
                f"rungs: {list(self.rungs)} are not all below the end, which is {limit:,}"
            )
        if any(one >= other for one, other in itertools.pairwise(self.stops(total_steps))):
            raise InputError(f"rungs: {list(self.rungs)} do not increase")

    def stops(self, total_steps: int) -> list[int]:
        """Return the env steps of each rung, and of the end."""
        steps = [x if isinstance(x, int) else round(x * total_steps) for x in self.rungs]
        return [*steps, total_steps]

    def config(self, values: Mapping[str, Any]) -> Config:
        """Return all settings of a trial.

        Raises:
            InputError: they do not go together.
        """
        return Config(**{**self.settings, **values})

    def some_config(self) -> Config:
        """Return settings of the first values, or of the last ones, for checks.

        Raises:
            InputError: neither go together.
        """
        first, last = ({name: x.ends[end] for name, x in self.dimensions.items()} for end in (0, 1))
        try:
            return self.config(first)
        except InputError as error:
            try:
                return self.config(last)
            except InputError:
                raise InputError(f"its settings do not go together: {error}") from error


def load_space(file: Path) -> Space:
    """Load a space.

    Raises:
        InputError: the file cannot be read, or is invalid; the message names the key.
    """
    with prefix_errors(str(file)):
        try:
            values = tomllib.loads(file.read_text("utf-8-sig"))
        except (OSError, RecursionError, ValueError) as error:
            raise InputError(f"cannot be read: {error}") from error
        return space_of(file.stem, values)


def space_of(name: str, values: Mapping[str, Any]) -> Space:
    """Make a space of TOML values.

    Raises:
        InputError: a key is unknown, missing, or has a value that is not allowed.
    """
    own = {x.name for x in fields(Space)} - {"name", "dimensions", "record"} | {"base", "space"}
    for key in values:
        if key not in own:
            raise InputError(f"{key}: no such key{did_you_mean(key, own)}")
    settings = settings_of(values)
    dimensions: dict[str, Dimension] = {}
    for setting, searched in table_in(values, "space").items():
        with prefix_errors(f"space: {setting}"):
            dimensions[setting] = dimension_of(setting, searched)
            if setting in table_in(values, "settings"):
                raise InputError("it is under [settings], too; omit it there")
    given = {key: x for key, x in values.items() if key not in ("base", "space", "settings")}
    if "pruner" in values:
        written = table_in(values, "pruner")
        with prefix_errors("pruner"):
            given["pruner"] = pruner_of(written)
            if not values.get("rungs"):
                raise InputError("trials are pruned at rungs; add `rungs`, such as [0.25, 0.5]")
    common = {key: "none" if x is None else x for key, x in settings.items()}
    record = {key: x for key, x in values.items() if key != "base"} | {"settings": common}
    found = {"settings": settings, "dimensions": dimensions, "record": as_read(record)}
    return make_from_toml(Space, {**given, **found, "name": name})


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that all trials have in common.

    Raises:
        InputError: the base does not exist, or a setting is unknown or out of range.
    """
    base = values.get("base")
    if base is not None and not isinstance(base, str):
        raise InputError(f"base: {base!r} is not the name of a recipe or a file")
    with prefix_errors("base"):
        common = {} if base is None else read_settings(base)
    common.pop("seed", None)
    written = table_in(values, "settings")
    with prefix_errors("settings"):
        own = from_toml(written)
        check_settings({**common, **own})
        if "seed" in own:
            raise InputError("seed: write `seeds`, with all seeds of a trial, above the tables")
    return {**common, **own}


def table_in(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a table of TOML values, empty if it is missing.

    Raises:
        InputError: it is not a table.
    """
    found = values.get(key, {})
    if not isinstance(found, dict):
        raise InputError(f"{key}: {found!r} is not a table, [{key}]")
    return cast("dict[str, Any]", found)


def as_read(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they are when they are written to TOML and read again."""
    return tomllib.loads(tomli_w.dumps(values))
