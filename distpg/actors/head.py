"""The head of a Ray cluster, without which Ray ends this process unasked after a minute."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

from distpg.errors import RunError

KNOCK_EVERY_S = 5.0
KNOCKS = 4
"""How often in a row nobody must answer before the head counts as lost."""
head_lost = threading.Event()


@contextmanager
def monitoring(address: str) -> Generator[None]:
    """Have a thread knock at the head's door within the block."""
    head_lost.clear()
    done = threading.Event()

    def watch() -> None:
        unanswered = 0
        while not done.wait(KNOCK_EVERY_S):
            try:
                ping(address)
                unanswered = 0
            except OSError:
                unanswered += 1
            if unanswered >= KNOCKS:
                head_lost.set()
                return

    thread = threading.Thread(target=watch, name="head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        head_lost.clear()


def check() -> None:
    """Refuse to wait for what cannot come.

    Raises:
        RunError: the head is lost.
    """
    if head_lost.is_set():
        raise RunError("the head of the Ray cluster is lost; start a cluster anew")


def ping(address: str) -> None:
    """See within seconds that something listens at host:port: Ray itself would try for minutes.

    Raises:
        OSError: nothing does.
        ValueError: it is no host:port.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("it is not of the form host:port")
    socket.create_connection((host, int(port)), timeout=5).close()
