"""`train`: from flags, or from Python, to a trained policy."""

import argparse
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from distpg.assembly import Outcome, Plan, execute
from distpg.checkpoint import load_networks
from distpg.config import Config, EnvKwargs, hints
from distpg.config_file import read_settings
from distpg.envs.make import MakeEnv, find_source
from distpg.errors import InputError
from distpg.run_dir import RunDir

registry = ConstructorRegistry()


@registry.primitive_rule
def json_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[EnvKwargs] | None:
    """Read a table from JSON on the command line."""
    if info.type_origin is not dict:
        return None

    def parse(words: list[str]) -> EnvKwargs:
        value: Any = json.loads(words[0])
        if not isinstance(value, dict):
            raise ValueError(f'{words[0]} is not a JSON object such as {{"key": 1}}')
        return value  # pyright: ignore[reportUnknownVariableType]

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=parse,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [json.dumps(value)],
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
class TrainFlags(Config):
    """Train a policy; defaults < preset of --algo < --config < flags."""

    config: str | None = None
    """A configuration file, or the name of a recipe that comes with the package."""
    run_dir: Path | None = None
    """Where the run is kept. Default: runs/ENV/ALGO-sSEED-TIME."""
    overwrite: bool = False
    """Replace the run that --run-dir holds."""
    quiet: bool = False
    """Print nothing but errors."""

    def __post_init__(self) -> None:
        """Leave the checks to the `Config` that is made from these: it has the shorter messages."""


def main(arguments: list[str], program: str, started: float) -> int:
    """Run the sub-command; return its exit code."""
    flags = tyro.cli(
        TrainFlags,
        prog=program,
        args=arguments,
        default=TrainFlags(**settings_before_flags(arguments)),
        registry=registry,
    )
    config = Config(**{name: getattr(flags, name) for name in hints()})
    outcome = train(
        config,
        run_dir=flags.run_dir,
        overwrite=flags.overwrite,
        quiet=flags.quiet,
        started=started,
    )
    return 128 + outcome.signal if outcome.signal else 0


def settings_before_flags(arguments: list[str]) -> dict[str, Any]:
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


def train(
    config: Config,
    *,
    make_env: MakeEnv | None = None,
    run_dir: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    started: float | None = None,
) -> Outcome:
    """Train a policy.

    Args:
        config: The settings; `Config(algo=..., env_id=..., ...)`.
        make_env: Makes one environment, in whichever process needs it; instead of `env_id`. It is
            called with `env_kwargs`.
        run_dir: Where the run is kept; by default runs/ENV/ALGO-sSEED-TIME.
        overwrite: Replace the run that `run_dir` holds.
        quiet: Print nothing.
        started: Unix time from which the result's seconds are counted; by default now.

    Returns:
        Where the run is and how it ended.

    Raises:
        InputError: the settings cannot be; nothing was started.
        RunError: the run could not go on; its checkpoints are kept.
    """
    source = find_source(config, make_env)
    config = dataclasses.replace(config, env_id=source.name)
    start_from = None
    if config.init_from is not None:
        start_from = load_networks(RunDir.open(Path(config.init_from)))
    run = RunDir.default(config) if run_dir is None else RunDir(Path(run_dir))
    plan = Plan(config, source, run, overwrite=overwrite, quiet=quiet, start_from=start_from)
    if started is not None:
        plan = dataclasses.replace(plan, started=started)
    return execute(plan)
