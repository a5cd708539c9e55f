"""Leaving a cluster, also one whose head does not answer: Ray would wait for it without an end."""

import atexit
import os
import sys
import threading

from distpg.actors.head import answers

DISCONNECT_S = 10.0
"""What a head that does not answer has for answering after all."""
stuck = threading.Event()


def disconnect(address: str) -> None:
    """Disconnect from a cluster; leave that to a thread if its head does not answer."""
    import ray

    if answers(address):
        ray.shutdown()
        return
    thread = threading.Thread(target=ray.shutdown, name="disconnect", daemon=True)
    thread.start()
    thread.join(DISCONNECT_S)
    if thread.is_alive():
        stuck.set()
        # when this process ends, Ray would wait again
        atexit.unregister(ray.shutdown)


def end_at_once() -> None:
    """End this process with exit code 1 while a thread is stuck, which would crash otherwise."""
    if stuck.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


# before Ray is imported, so that it runs after what others register
atexit.register(end_at_once)
