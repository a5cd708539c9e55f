"""Random streams, each a pure function of what it is for.

No generator is carried from one iteration to the next: a rollout or an update that is done again
draws the same numbers, in whichever process it runs.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream is for."""

    ENV = 0
    ACT = 1
    SHUFFLE = 2
    INIT = 3
    EVALUATE = 4


def stream_seeds(stream: Stream, *key: int, count: int = 1) -> list[int]:
    """Derive seeds of 32 bits for a stream from its key, such as (seed, slot, iteration)."""
    # two words a part, so that no two keys of a stream look alike
    words = [word for part in key for word in (part % 2**32, part >> 32)]
    sequence = np.random.SeedSequence([int(stream), len(key), *words])
    return [int(word) for word in sequence.generate_state(count, np.uint32)]
