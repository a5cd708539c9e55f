"""Waiting for actors: always with a deadline, and with an error that says who failed and how."""

import re
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError, RayTaskError
from ray.exceptions import ObjectLostError as RayObjectLostError

from distpg.actors import head
from distpg.errors import InputError, ObjectLostError, ProcessLostError, RunError

LOOK_EVERY_S = 2.0
"""How often a wait looks whether the cluster's head is there."""
NODE_DIED = "its node has died"
UNKNOWN = "its process was killed, ran out of memory, or crashed (see Ray's logs)"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def wait(
    refs: Sequence[Any],
    names: Sequence[str],
    *,
    doing: str,
    timeout_s: float,
    began: float | None = None,
) -> None:
    """Wait until results are there, or known to have failed, without fetching them.

    Args:
        refs: What to wait for.
        names: Who is to deliver each.
        doing: What they are doing, for the message.
        timeout_s: Seconds until the wait is given up.
        began: Monotonic time from which they count; by default now.

    Raises:
        ProcessLostError: the deadline passed.
        RunError: the cluster's head is lost.
    """
    deadline = (time.monotonic() if began is None else began) + timeout_s
    late = list(refs)
    while late:
        head.check()
        left_s = max(0.0, deadline - time.monotonic())
        slice_s = min(left_s, LOOK_EVERY_S)
        _, late = ray.wait(late, num_returns=len(late), timeout=slice_s, fetch_local=False)
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
        RunError: what an actor ran raised; the message quotes it.
        ObjectLostError: what it was to work on, or made, was lost with a node.
        ProcessLostError: an actor died, or the deadline passed.
        InputError: what it ran refused the user's input.
    """
    wait(refs, names, doing=doing, timeout_s=timeout_s, began=began)
    results: list[Any] = []
    for ref, name in zip(refs, names, strict=True):
        try:
            results.append(ray.get(ref, timeout=timeout_s))
        except RayTaskError as error:
            if isinstance(error.cause, InputError | RunError):
                raise type(error.cause)(str(error.cause)) from None
            if isinstance(error.cause, RayObjectLostError):
                raise ObjectLostError(f"what {name} needed while {doing} was lost") from None
            raise RunError(f"{name} failed while {doing}:\n{COLOUR.sub('', str(error))}") from None
        except GetTimeoutError:
            raise ProcessLostError(
                f"what {name} made while {doing} did not arrive in time"
            ) from None
        except RayObjectLostError:
            raise ObjectLostError(f"what {name} made while {doing} was lost") from None
        except OutOfMemoryError:
            raise ProcessLostError(
                f"{name} died while {doing}: Ray ended it before its machine's memory ran out; "
                "give fewer --num-workers or --num-envs, or more memory"
            ) from None
        except RayActorError as error:
            if error.actor_init_failed:
                *_, told = COLOUR.sub("", str(error)).strip().splitlines()
                raise RunError(f"{name} could not start: {told}") from None
            with_its_node = error.preempted or NODE_DIED in str(error)
            what = "its machine was lost" if with_its_node else UNKNOWN
            raise ProcessLostError(
                f"{name} died while {doing}: {what}", with_its_node=with_its_node
            ) from None
    return results
