import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from distpg.seeding import RNG, rng_seeds

keys = st.tuples(*[st.integers(0, 2**32 - 1)] * 3)


@given(rng=st.sampled_from(RNG), key=keys)
def test_the_same_key_gives_the_same_seeds(rng: RNG, key: tuple[int, ...]) -> None:
    assert rng_seeds(rng, *key, count=3) == rng_seeds(rng, *key, count=3)


@given(first=keys, second=keys)
def test_different_keys_give_different_seeds(
    first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    same = rng_seeds(RNG.ACT, *first, count=2) == rng_seeds(RNG.ACT, *second, count=2)
    assert same == (first == second)


def test_each_part_of_a_key_counts_and_so_does_its_place() -> None:
    drawn = [
        rng_seeds(rng, *key)[0] for rng in RNG for key in itertools.product(range(3), repeat=4)
    ]
    assert len(set(drawn)) == len(drawn)


def test_generators_of_the_same_key_differ() -> None:
    assert len({rng_seeds(rng, 7, 0, 0)[0] for rng in RNG}) == len(RNG)


@given(key=keys)
def test_seeds_of_one_key_differ_and_more_of_them_keep_the_first(key: tuple[int, ...]) -> None:
    seeds = rng_seeds(RNG.ENV, *key, count=8)
    assert len(set(seeds)) == 8
    assert rng_seeds(RNG.ENV, *key, count=3) == seeds[:3]


@given(key=keys)
def test_seeds_are_whole_numbers_of_32_bits(key: tuple[int, ...]) -> None:
    for seed in rng_seeds(RNG.ENV, *key, count=4):
        assert type(seed) is int
        assert 0 <= seed < 2**32


def test_the_largest_seed_of_a_run_is_a_key() -> None:
    assert rng_seeds(RNG.INIT, 2**63 - 1) != rng_seeds(RNG.INIT, 2**63 - 2)


def test_all_bits_of_a_seed_count() -> None:
    # bit 32 on, also where the lower ones are alike
    found = {rng_seeds(RNG.ACT, seed)[0] for seed in (5, 5 + 2**32, 5 + 2**33, 5 + 2**62)}
    assert len(found) == 4


def test_drawing_seeds_neither_reads_nor_moves_the_global_generators() -> None:
    first = rng_seeds(RNG.SHUFFLE, 1, 2, 3)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        np.random.seed(99)
        before = torch.get_rng_state(), float(np.random.random())
        np.random.seed(99)
        assert rng_seeds(RNG.SHUFFLE, 1, 2, 3) == first
        assert torch.equal(torch.get_rng_state(), before[0])
        assert float(np.random.random()) == before[1]
