"""Checks made in a process of their own: if they raise, hang or crash, that is what was found."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from distpg.doctor.check import Check
from distpg.errors import InputError

DEADLINE_S = 30.0
"""For a check, from its announcement to its result."""
Report = str | Check
"""The name of the check that begins, or what a check came to."""
REPAIR = "repair that, then run doctor again for the checks that were not made"


def in_subprocess(
    reports: Callable[..., Iterable[Report]], *arguments: Any, deadline_s: float | None = None
) -> Iterator[Check]:
    """Make checks in a process that is killed, with its children, when it is late.

    Args:
        reports: A function of a module; it announces each check by its name.
        arguments: Its arguments.
        deadline_s: For each check; by default `DEADLINE_S`.

    Raises:
        InputError: it was raised before the first announcement.
    """
    deadline_s = DEADLINE_S if deadline_s is None else deadline_s
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_report, args=(there, reports, arguments))
    process.start()
    there.close()
    name = "start"
    try:
        while here.poll(deadline_s):
            message = here.recv()
            if message is None:
                return
            if isinstance(message, InputError):
                raise message
            if isinstance(message, Check):
                yield message
            else:
                name = message
        yield Check("FAIL", name, f"hangs: no answer within {deadline_s:g} s", REPAIR)
    except EOFError:
        process.join()
        code = process.exitcode
        yield Check("FAIL", name, f"the process that made it died with exit code {code}", REPAIR)
    finally:
        _kill(process.pid)
        process.join()


def _report(there: Connection, reports: Callable[..., Iterable[Report]], arguments: Any) -> None:
    # what an environment prints is no part of the report; Ctrl-C is for the process that waits
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    name = ""
    try:
        for report in reports(*arguments):
            name = report if isinstance(report, str) else name
            there.send(report)
    except Exception as error:
        asked = isinstance(error, InputError) and not name
        there.send(error if asked else Check("FAIL", name or "start", quote(error), REPAIR))
    there.send(None)


def quote(error: Exception) -> str:
    """Write an exception in a line, with the place that raised it if it is none of our own."""
    text = " ".join(str(error).split())
    if isinstance(error, InputError):
        return text
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({Path(frame.filename).name}:{frame.lineno})"


def _kill(pid: int | None) -> None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                one.kill()
