"""Monitor the Ray head node: without it, Ray kills this process after a minute."""

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from distpg.errors import RunError

PING_EVERY_S = 5.0
POLL_S = 1.0
MAX_UNANSWERED = 4
"""Pings in a row without an answer after which the head node counts as lost."""
head_lost = threading.Event()
addresses: list[str] = []
"""The head node that is monitored, if one is."""


@contextmanager
def monitoring(address: str) -> Generator[None]:
    """Context manager: ping the head node from a thread."""
    head_lost.clear()
    addresses.append(address)
    done = threading.Event()

    def watch() -> None:
        unanswered = 0
        while not done.wait(PING_EVERY_S):
            unanswered = 0 if answers(address) else unanswered + 1
            if unanswered >= MAX_UNANSWERED:
                head_lost.set()
                return

    thread = threading.Thread(target=watch, name="head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        addresses.clear()
        head_lost.clear()


def check() -> None:
    """Check that results can still arrive.

    Raises:
        RunError: the head node is lost.
    """
    if head_lost.is_set():
        raise RunError("the Ray head node is unreachable; restart the cluster")


def reach() -> None:
    """Wait until the head node answers: what Ray asks it while it is lost would not return.

    Raises:
        RunError: the head node is lost.
    """
    while addresses:
        check()
        if answers(addresses[0]):
            return
        time.sleep(POLL_S)


def answers(address: str) -> bool:
    """Return whether something listens at host:port, and answers within 5 seconds."""
    try:
        ping(address)
    except OSError:
        return False
    return True


def ping(address: str) -> None:
    """Connect to host:port within 5 seconds; Ray itself would retry for minutes.

    Raises:
        OSError: nothing listens there.
        ValueError: the address is not host:port.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("it is not of the form host:port")
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
