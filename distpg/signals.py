"""SIGINT, SIGTERM and SIGUSR1: who hears them, and when."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def handled(handle: Callable[[int, object], None]) -> Generator[None]:
    """Have the signals handled within the block, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def at_once(number: int, frame: object) -> None:
    """Handle a signal as Python does Ctrl-C."""
    raise KeyboardInterrupt


@contextmanager
def held_back() -> Generator[None]:
    """Let no signal interrupt the block: what has half started could not be ended."""
    came: list[int] = []
    with handled(lambda number, frame: came.append(number)):
        yield
    if came:
        signal.raise_signal(came[0])
