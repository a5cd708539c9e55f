"""Run checks in a subprocess, so that exceptions, hangs and crashes become findings."""

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

from distpg.doctor.check import Begin, Check, Report
from distpg.errors import InputError

DEADLINE_S = 30.0
"""For one check, from its announcement to its result."""
START_S = 30.0
"""For starting the process, besides: it imports torch, also on a busy machine."""
ADVICE = "fix this, then run doctor again for the remaining checks"


def in_subprocess(
    reports: Callable[..., Iterable[Report]], *arguments: Any, deadline_s: float | None = None
) -> Iterator[Check]:
    """Run checks in a process, which is killed with its children when a check is late.

    Args:
        reports: A module-level function that yields that a check begins before its result.
        arguments: Its arguments.
        deadline_s: For each check, which may extend it; by default `DEADLINE_S`.

    Raises:
        InputError: `reports` raised it before the first check.
    """
    deadline_s = DEADLINE_S if deadline_s is None else deadline_s
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_send_reports, args=(sender, reports, arguments))
    process.start()
    sender.close()
    begun = Begin("start", START_S)
    try:
        while receiver.poll(deadline_s + begun.extra_s):
            message = receiver.recv()
            if message is None:
                return
            if isinstance(message, InputError):
                raise message
            if isinstance(message, Check):
                yield message
            else:
                begun = message
        late = f"hangs: no answer within {deadline_s + begun.extra_s:.3g} s"
        yield Check("FAIL", begun.name, late, ADVICE)
    except EOFError:
        process.join()
        code = process.exitcode
        yield Check(
            "FAIL", begun.name, f"the process of this check died with exit code {code}", ADVICE
        )
    finally:
        _kill(process.pid)
        process.join()


def _send_reports(
    sender: Connection, reports: Callable[..., Iterable[Report]], arguments: Any
) -> None:
    # the output of an environment is not part of the report; Ctrl-C is handled by the parent
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    name = ""
    try:
        for report in reports(*arguments):
            name = report.name if isinstance(report, Begin) else name
            sender.send(report)
    except Exception as error:
        is_bad_input = isinstance(error, InputError) and not name
        failed = Check("FAIL", name or "start", format_with_location(error), ADVICE)
        sender.send(error if is_bad_input else failed)
    sender.send(None)


def format_with_location(error: Exception) -> str:
    """Write an exception on one line, with the file and line that raised it."""
    text = " ".join(str(error).split())
    if isinstance(error, InputError):
        return text
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({Path(frame.filename).name}:{frame.lineno})"


def _kill(pid: int | None) -> None:
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (*parent.children(recursive=True), parent):
            with suppress(psutil.NoSuchProcess):
                process.kill()
