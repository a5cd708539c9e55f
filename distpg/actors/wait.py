"""Waiting for actors: always with a deadline, and with an error that says who failed and how."""

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from distpg.errors import InputError, ProcessDiedError, RunError


def fetch(refs: Sequence[Any], names: Sequence[str], *, doing: str, timeout_s: float) -> list[Any]:
    """Wait for results and return them.

    Args:
        refs: What to wait for.
        names: Who is to deliver each.
        doing: What they are doing, for the message.
        timeout_s: Seconds until the wait is given up.

    Raises:
        RunError: the deadline passed, or what an actor ran raised; the message quotes it.
        ProcessDiedError: an actor died.
        InputError: what it ran refused the user's input.
    """
    pending = list(refs)
    _, late = ray.wait(pending, num_returns=len(pending), timeout=timeout_s)
    if late:
        slow = ", ".join(dict.fromkeys(names[pending.index(ref)] for ref in late))
        raise RunError(f"{slow} did not finish within {timeout_s:g} s while {doing}")
    results: list[Any] = []
    for ref, name in zip(refs, names, strict=True):
        try:
            results.append(ray.get(ref, timeout=timeout_s))
        except RayTaskError as error:
            if isinstance(error.cause, InputError | RunError):
                raise type(error.cause)(str(error.cause)) from None
            raise RunError(f"{name} failed while {doing}:\n{error}") from None
        except RayActorError as error:
            raise ProcessDiedError(f"{name} died while {doing}: {cause_of_death(error)}") from None
    return results


def cause_of_death(error: RayActorError) -> str:
    """Quote the exception of an actor's constructor; else say what Ray can only guess at."""
    text = str(error)
    if "creation task" in text:
        return text
    return "its process was killed, ran out of memory, or crashed"
