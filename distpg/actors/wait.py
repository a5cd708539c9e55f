"""Wait for actors, always with a deadline; errors name the process that failed and how."""

import re
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError, RayError, RayTaskError
from ray.exceptions import ObjectLostError as RayObjectLostError

from distpg.actors import head
from distpg.errors import InputError, ObjectLostError, ProcessLostError, RunError

MIN_START_S = 60.0
"""Least time that a process has for starting: it imports torch, also on a busy machine."""
CHECK_EVERY_S = 2.0
"""Interval at which a wait checks that the head node is reachable."""
NODE_DIED = "its node has died"
UNKNOWN = "its process was killed, ran out of memory, or crashed (see Ray's logs)"
FAILURES = (RayTaskError, GetTimeoutError, RayObjectLostError, OutOfMemoryError, RayActorError)
REFUSED = f"{InputError.__module__}.{InputError.__qualname__}: "
"""What a traceback writes before the message of an `InputError`."""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def wait(
    refs: Sequence[Any],
    names: Sequence[str],
    *,
    doing: str,
    timeout_s: float,
    began: float | None = None,
    copy: bool = False,
) -> None:
    """Wait until results are available or have failed, without reading them.

    Args:
        refs: References to the results.
        names: The process that computes each.
        doing: What they are doing, for the message.
        timeout_s: Timeout in seconds.
        began: Monotonic time from which the timeout counts; by default now.
        copy: Copy them to this node.

    Raises:
        ProcessLostError: the deadline passed.
        RunError: the head node is lost.
    """
    deadline = (time.monotonic() if began is None else began) + timeout_s
    late = list(refs)
    while late:
        head.check()
        left_s = max(0.0, deadline - time.monotonic())
        slice_s = min(left_s, CHECK_EVERY_S)
        _, late = ray.wait(late, num_returns=len(late), timeout=slice_s, fetch_local=copy)
        if late and not left_s:
            slow = ", ".join(dict.fromkeys(names[refs.index(ref)] for ref in late))
            raise ProcessLostError(f"{slow} did not finish within {timeout_s:g} s while {doing}")


def fetch(
    refs: Sequence[Any],
    names: Sequence[str],
    *,
    doing: str,
    timeout_s: float,
    began: float | None = None,
) -> list[Any]:
    """Wait for results, as `wait` does, and return them.

    Raises:
        RunError: an actor raised; the message quotes the traceback.
        ObjectLostError: a result, or an object that an actor needed, was lost with a node.
        ProcessLostError: an actor died, or the deadline passed.
        InputError: an actor refused the user's input.
    """
    wait(refs, names, doing=doing, timeout_s=timeout_s, began=began)
    pairs = zip(refs, names, strict=True)
    return [read(ref, name, doing=doing, timeout_s=timeout_s) for ref, name in pairs]


def read(ref: Any, name: str, *, doing: str, timeout_s: float) -> Any:
    """Return a result that is available; raise as `fetch` does."""
    try:
        return ray.get(ref, timeout=timeout_s)
    except FAILURES as error:
        raise reworded(error, name, doing) from None


def reworded(error: RayError, name: str, doing: str) -> InputError | RunError:
    """Return the error that says which process failed, at what, and why."""
    if isinstance(error, RayTaskError):
        return reworded_cause(error, name, doing)
    if isinstance(error, GetTimeoutError):
        return ProcessLostError(f"the result of {name} did not arrive in time while {doing}")
    if isinstance(error, RayObjectLostError):
        return ObjectLostError(f"the result of {name} was lost while {doing}")
    if isinstance(error, OutOfMemoryError):
        return ProcessLostError(
            f"{name} died while {doing}: Ray killed it because its node was running out of memory; "
            "use fewer --num-workers or --num-envs, or add memory"
        )
    assert isinstance(error, RayActorError)
    if error.actor_init_failed:
        *_, reason = COLOUR.sub("", str(error)).strip().splitlines()
        if reason.startswith(REFUSED):
            return InputError(reason.removeprefix(REFUSED))
        return RunError(f"{name} could not start: {reason}")
    with_its_node = error.preempted or NODE_DIED in str(error)
    cause = "its node was lost" if with_its_node else UNKNOWN
    return ProcessLostError(f"{name} died while {doing}: {cause}", with_its_node=with_its_node)


def reworded_cause(error: RayTaskError, name: str, doing: str) -> InputError | RunError:
    """Return the error for an exception that was raised in an actor."""
    if isinstance(error.cause, InputError | RunError):
        return type(error.cause)(str(error.cause))
    if isinstance(error.cause, RayObjectLostError):
        return ObjectLostError(f"an object that {name} needed was lost while {doing}")
    return RunError(f"{name} failed while {doing}:\n{COLOUR.sub('', str(error))}")
