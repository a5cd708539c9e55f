"""Signals: who hears SIGINT, SIGTERM and SIGUSR1, and when; and the alarm of a deadline."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from distpg.errors import LateError

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def handle_signals(handle: Callable[[int, object], None]) -> Generator[None]:
    """Have the signals handle_signals within the block, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt(number: int, frame: object) -> None:
    """Handle a signal as Python does Ctrl-C."""
    raise KeyboardInterrupt


@contextmanager
def defer_signals() -> Generator[None]:
    """Let no signal interrupt the block: what has half started could not be ended."""
    came: list[int] = []
    with handle_signals(lambda number, frame: came.append(number)):
        yield
    if came:
        signal.raise_signal(came[0])


@contextmanager
def deadline(timeout_s: float) -> Generator[None]:
    """Interrupt what takes longer, where that can be done: in the main thread, in Python.

    Raises:
        LateError: it did.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(number: int, frame: object) -> None:
        raise LateError

    before = signal.signal(signal.SIGALRM, give_up)
    timer = signal.setitimer(signal.ITIMER_REAL, min(timeout_s, 1e8))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)
