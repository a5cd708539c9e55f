"""Seeds of all random number generators, as pure functions of what they are for.

No generator is carried from one iteration to the next: a rollout or an update that is repeated
draws the same numbers, in whichever process it runs.
"""

from enum import IntEnum

import numpy as np


class RNG(IntEnum):
    """What a generator is for."""

    ENV = 0
    ACT = 1
    SHUFFLE = 2
    INIT = 3
    EVALUATE = 4
    PLAY = 5
    """A saved policy: other episodes than those of the evaluations that chose it."""


def rng_seeds(rng: RNG, *key: int, count: int = 1) -> list[int]:
    """Derive 32-bit seeds for a generator from its key, such as (seed, slot, iteration)."""
    # two words a part, so that no two keys look alike
    words = [word for part in key for word in (part % 2**32, part >> 32)]
    sequence = np.random.SeedSequence([int(rng), len(key), *words])
    return [int(word) for word in sequence.generate_state(count, np.uint32)]
