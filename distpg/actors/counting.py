"""How far the first rollouts are, while the actors that collect them answer nothing else."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

from distpg.actors.ray_internals import drop_count, get_count, put_count

EVERY_S = 0.5
"""Between two counts that an actor gives."""


@contextmanager
def counting(count: Callable[[], int]) -> Generator[None]:
    """Context manager: while the block runs, a thread of this actor gives a count."""
    done = Event()

    def give() -> None:
        # only people read it, and a Ray that fails tells elsewhere
        with suppress(Exception):
            while not done.wait(EVERY_S):
                put_count(count())
            drop_count()

    Thread(target=give, daemon=True).start()
    try:
        yield
    finally:
        done.set()


class Counts:
    """The largest counts of actors so far: those of an actor that is done are gone."""

    def __init__(self) -> None:
        """Start with none."""
        self.largest: dict[int, int] = {}

    def total(self, actors: Sequence[Any]) -> int:
        """Ask for the counts, and return their sum."""
        for number, actor in enumerate(actors):
            with suppress(Exception):
                self.largest[number] = max(self.largest.get(number, 0), get_count(actor))
        return sum(self.largest.values())
