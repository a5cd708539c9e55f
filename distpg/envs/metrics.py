"""What an environment reports of an episode in the info of its last step.

`info["episode_metrics"]` has numbers by name; `info["is_success"]` is one number, 0 or 1, which is
reported as `success`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np

from distpg.envs.returned import to_number
from distpg.errors import EnvError

METRICS, SUCCESS = "episode_metrics", "is_success"
RESERVED = {"r", "l", "t", "iteration", "slot", "success"}
"""Columns of the table of episodes."""


def metrics_of(info: Mapping[str, Any], env: int) -> dict[str, float]:
    """Return what the info of an episode's last step reports, by name; often nothing.

    Raises:
        EnvError: a metric is not a number, or has no name.
    """
    found: dict[str, float] = {}
    if METRICS in info:
        metrics = info[METRICS]
        if not isinstance(metrics, Mapping):
            raise EnvError(f"info[{METRICS!r}] is {metrics!r:.60}, not numbers by name", env)
        for name, value in cast("Mapping[Any, Any]", metrics).items():
            if not isinstance(name, str) or not name:
                raise EnvError(
                    f"info[{METRICS!r}] has the name {name!r:.60}, which is no text", env
                )
            if name in RESERVED:
                raise EnvError(f"info[{METRICS!r}] has {name!r}, which the run uses itself", env)
            found[name] = to_number(value, f"info[{METRICS!r}][{name!r}]", env)
    # None: it is not known
    if info.get(SUCCESS) is not None:
        found["success"] = to_number(info[SUCCESS], f"info[{SUCCESS!r}]", env)
    return found


def metrics_by_copy(info: Mapping[str, Any], ended: np.ndarray) -> dict[int, dict[str, float]]:
    """Return the same of each copy of a vector env whose episode ended, [N] bool.

    In the info of a vector env a value is an array of all copies, and the array of the same name
    with _ before it says which copies have one.
    """
    reported = {
        int(env): metrics_of(dict(_of_copy(info, int(env))), int(env))
        for env in (np.flatnonzero(ended) if METRICS in info or SUCCESS in info else ())
    }
    return {env: metrics for env, metrics in reported.items() if metrics}


def _of_copy(info: Mapping[str, Any], env: int) -> Iterator[tuple[str, Any]]:
    for name in (METRICS, SUCCESS):
        if name in info and _has(info, name, env):
            value = info[name]
            of_copies = isinstance(value, Mapping)
            yield name, dict(_numbers(value, env)) if of_copies else _entry(value, name, env)


def _numbers(metrics: Mapping[str, Any], env: int) -> Iterator[tuple[str, Any]]:
    for name in metrics:
        if not name.startswith("_") and _has(metrics, name, env):
            yield name, _entry(metrics[name], name, env)


def _entry(values: Any, name: str, env: int) -> Any:
    try:
        return values[env]
    except (IndexError, KeyError, TypeError) as error:
        raise EnvError(
            f"{name!r} in the info is {values!r:.60}, which has no entry for each copy", env
        ) from error


def _has(values: Mapping[str, Any], name: str, env: int) -> bool:
    return bool(_entry(values[f"_{name}"], f"_{name}", env)) if f"_{name}" in values else True
