"""`doctor`: check a machine or a cluster, and an environment, before a long run."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Self

from distpg.actors import nodes
from distpg.actors.cluster import cluster_address
from distpg.bench import compiling
from distpg.config.config import Config
from distpg.config.files import load_config, read_settings
from distpg.config.flags import FlagsWithFile
from distpg.config.settings import AUTO, EnvBackend, EnvKwargs
from distpg.config.values import Range, flag
from distpg.doctor import environment, machine
from distpg.doctor.check import Check
from distpg.doctor.process import in_subprocess
from distpg.errors import InputError, prefix_errors
from distpg.report.outputs import apart_from_json

OWN = {"config", "compile", "json"}
"""Flags that are no settings."""


@dataclass(frozen=True, kw_only=True)
class DoctorFlags(FlagsWithFile):
    """Check a machine or a cluster, and an environment, before a long run."""

    config: str | None = None
    """Also check the environment of this recipe or configuration file; other flags override it."""
    env_id: str | None = None
    """Also check this environment: a Gymnasium id, module:Env-v0 or module:Class."""
    env_kwargs: EnvKwargs = field(default_factory=dict)
    """Keyword arguments of the environment, as JSON."""
    env_wrapper: tuple[str, ...] = ()
    """Wrapper around each copy, as module:Wrapper or module:Wrapper{"key": 1}; can be repeated."""
    frame_stack: Annotated[int, Range(1, 10**3)] = 1
    """Observations to stack."""
    env_backend: EnvBackend = "gymnasium"
    """Env implementation: gymnasium or envpool."""
    image_keys: tuple[str, ...] = AUTO
    """Observations that are read as pictures: auto, none, or their names."""
    address: str | None = None
    """Check the nodes of this Ray cluster: auto or host:port. Default: that of --config, else
    RAY_ADDRESS, else this machine."""
    compile: str | None = None
    """Also compile the update of this recipe or configuration file, so that its runs start without
    (10 to 40 s)."""
    json: bool = False
    """Print one JSON object."""

    def starting_from(self, settings: Mapping[str, Any]) -> Self:
        """Replace the defaults of some settings, unchecked."""
        return super().starting_from(without(settings, OWN))


def main(flags: DoctorFlags, started: float) -> int:
    """Run the sub-command; return its exit code: 1 if a check FAILs."""
    made: list[Check] = []
    with apart_from_json(flags.json):
        for check in run_checks(flags):
            made.append(check)
            if not flags.json:
                print(format_check(check), flush=True)
    count = Counter(check.status for check in made)
    if flags.json:
        print(json.dumps({"checks": [asdict(check) for check in made], **count}))
    else:
        print(f"{count['PASS']} PASS, {count['WARN']} WARN, {count['FAIL']} FAIL")
    return 1 if count["FAIL"] else 0


def run_checks(flags: DoctorFlags) -> Iterator[Check]:
    """Run the checks that the flags ask for, those of the environment first.

    Raises:
        InputError: the configuration or the address is malformed, or the environment is missing.
    """
    config = config_of(flags)
    address = cluster_address(config)
    if address is not None and not re.fullmatch(r"auto|.+:\d+", address):
        raise InputError(f"--address: {address!r} is neither auto nor host:port")
    if flags.env_id is not None or flags.config is not None:
        yield from in_subprocess(environment.checks, config)
    if flags.compile is not None:
        with prefix_errors("--compile"):
            compiled = load_config(flags.compile)
        yield from in_subprocess(compiling.checks, compiled)
    if address is None:
        yield from in_subprocess(machine.local)
        yield from in_subprocess(nodes.local, deadline_s=nodes.DEADLINE_S)
        return
    yield from in_subprocess(machine.driver)
    for check in in_subprocess(nodes.answering, address, deadline_s=nodes.JOIN_S):
        yield check
        if check.status == "PASS":
            yield from in_subprocess(nodes.joined, address, deadline_s=nodes.DEADLINE_S)


def config_of(flags: DoctorFlags) -> Config:
    """Return the settings of --config, which the other flags override.

    Raises:
        InputError: a setting is invalid, or a flag of the environment has no environment.
    """
    file = {} if flags.config is None else read_settings(flags.config)
    settings = without(vars(flags), OWN)
    if flags.config is None and flags.env_id is None:
        for name, value in settings.items():
            if name != "address" and value != getattr(DoctorFlags(), name):
                spelled = " ".join(value) if isinstance(value, tuple) else value
                raise InputError(f"{flag(name)}: {spelled} needs --env-id or --config beside it")
    given = {name: value for name, value in settings.items() if value is not None}
    return Config(**{**file, **given})


def without(settings: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return settings without some of them."""
    return {name: value for name, value in settings.items() if name not in names}


def format_check(check: Check) -> str:
    """Format a check as one line of text."""
    advice = f"; {check.advice}" if check.advice else ""
    return f"{check.status}  {check.name:14} {check.found}{advice}"
