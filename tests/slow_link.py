"""A cable that delays and loses frames, as a process between two TAP interfaces.

    python slow_link.py NEAR FAR DELAY_S JITTER_S LOSS SEED

It makes both interfaces, says so in one line, and ends with its standard input.
"""

import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
FRAME_BYTES = 65536
FRAMES_AT_ONCE = 64


def open_tap(name: str) -> int:
    """Make an interface whose frames are read from, and written to, the returned descriptor."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


class Direction:
    """Frames on their way from one interface to the other, in the order in which they came."""

    def __init__(self, source: int, target: int, delay_s: float, jitter_s: float, loss: float):
        self.source, self.target = source, target
        self.delay_s, self.jitter_s, self.loss = delay_s, jitter_s, loss
        self.frames: deque[tuple[float, bytes]] = deque()

    def take(self, generator: random.Random) -> None:
        """Read what has come."""
        for _ in range(FRAMES_AT_ONCE):
            try:
                frame = os.read(self.source, FRAME_BYTES)
            except BlockingIOError:
                return
            if generator.random() < self.loss:
                continue
            due = time.monotonic() + self.delay_s + generator.uniform(0, self.jitter_s)
            if self.frames:
                due = max(due, self.frames[-1][0])
            self.frames.append((due, frame))

    def deliver(self) -> None:
        """Write what is due."""
        while self.frames and self.frames[0][0] <= time.monotonic():
            _, frame = self.frames.popleft()
            try:
                os.write(self.target, frame)
            except OSError:
                # the interface is down, or its queue is full: the frame is lost
                continue


def main(near: str, far: str, delay_s: float, jitter_s: float, loss: float, seed: int) -> None:
    generator = random.Random(seed)
    one, other = open_tap(near), open_tap(far)
    ways = [
        Direction(source, target, delay_s, jitter_s, loss)
        for source, target in ((one, other), (other, one))
    ]
    print("ready", flush=True)
    while True:
        due = [way.frames[0][0] for way in ways if way.frames]
        wait_s = max(0.0, min(due) - time.monotonic()) if due else None
        readable, _, _ = select.select([one, other, sys.stdin], [], [], wait_s)
        if sys.stdin in readable:
            return
        for way in ways:
            if way.source in readable:
                way.take(generator)
            way.deliver()


if __name__ == "__main__":
    near, far, delay_s, jitter_s, loss, seed = sys.argv[1:]
    main(near, far, float(delay_s), float(jitter_s), float(loss), int(seed))
