"""Have rollout workers close their environments before their processes are ended."""

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from distpg.actors.wait import wait
from distpg.errors import RunError

HURRY_S = 3.0
"""What workers have after a second signal."""
ANSWER_S = 10.0
"""What a worker has for an answer that it is not busy with something else."""


def close_envs(actors: Mapping[str, Any], starting: Collection[str], timeout_s: float) -> list[str]:
    """Close the envs of actors, by name; return those that did not close in time.

    A busy actor may remain busy, so it has `ANSWER_S` seconds. One that is still starting is waited
    for, but not named: nothing of it is known to be open.
    """
    end = time.monotonic() + timeout_s
    answers = {actor.ready.remote(): name for name, actor in actors.items()}
    refs = {name: actor.close.remote() for name, actor in actors.items()}
    if not refs:
        return []
    answered, _ = ray.wait([*answers], num_returns=len(answers), timeout=min(ANSWER_S, timeout_s))
    closing = {answers[answer] for answer in answered} | {*starting}
    patient = {name: ref for name, ref in refs.items() if name in closing}
    with suppress(RunError):
        left_s = max(0.0, end - time.monotonic())
        wait([*patient.values()], [*patient], doing="closing its envs", timeout_s=left_s)
    late: list[str] = []
    for name, ref in refs.items():
        try:
            late += ray.get(ref, timeout=0)
        except GetTimeoutError:
            late += [] if name in starting else [name]
        except RayError:
            # it has died, and its envs with it
            continue
    return late
