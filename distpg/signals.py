"""Handle SIGINT, SIGTERM and SIGUSR1, and interrupt code that exceeds a deadline."""

import math
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from distpg.errors import LateError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SOON_S = 1e-3
"""Left for an outer deadline that has passed."""


@contextmanager
def handle_signals(handler: Callable[[int, object], None]) -> Generator[None]:
    """Context manager: set a handler for all three signals; a no-op outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


class SignalInterrupt(KeyboardInterrupt):
    """A signal ends what is running, as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        """Store the signal's number."""
        super().__init__(number)
        self.number = number


def interrupt(number: int, frame: object) -> None:
    """Signal handler that raises KeyboardInterrupt, as Python does on Ctrl-C."""
    raise SignalInterrupt(number)


@contextmanager
def defer_signals() -> Generator[None]:
    """Context manager: defer signals until the block has finished."""
    received: list[int] = []
    with handle_signals(lambda number, frame: received.append(number)):
        yield
    if received:
        signal.raise_signal(received[0])


@contextmanager
def deadline(timeout_s: float) -> Generator[None]:
    """Context manager: interrupt the block after `timeout_s`, or at the deadline around it.

    Works in the main thread only, and cannot interrupt native code.

    Raises:
        LateError: the deadline expired.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(number: int, frame: object) -> None:
        raise LateError

    previous = signal.signal(signal.SIGALRM, expire)
    began = time.monotonic()
    outer_s, _ = signal.getitimer(signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, min(timeout_s, 1e8, outer_s or math.inf))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        left_s = outer_s and max(SOON_S, outer_s - (time.monotonic() - began))
        signal.setitimer(signal.ITIMER_REAL, left_s)
