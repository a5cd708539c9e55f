"""`python -m distpg.many_runs.child MODULE WORDS`: a program that ends with its starter.

The starter holds the other end of the standard input. When it is gone, also if it was killed, the
input ends, and the process gets SIGTERM: a run stops after its iteration and is saved.
"""

import os
import runpy
import signal
import sys
import threading


def end_with_the_starter() -> None:
    """Wait until the standard input ends, then end this process."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_starter, daemon=True).start()
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
