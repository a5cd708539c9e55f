import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from distpg.learner.minibatches import Samples, minibatches


def numbered(count: int) -> Samples:
    """Samples whose every field holds their own number."""
    rows = torch.arange(count)
    return Samples(
        obs={"place": torch.stack([rows, rows], -1).float(), "gear": rows},
        actions=rows,
        logprobs=rows.float(),
        values=rows.double(),
        envs=rows,
        parameters=rows.view(-1, 1),
    )


def order(count: int, size: int | None, *, seed: int, iteration: int, epoch: int) -> list[int]:
    epochs = range(epoch, epoch + 1)
    visits = minibatches(numbered(count), size, epochs=epochs, seed=seed, iteration=iteration)
    return [row for rows in visits for row in rows.tolist()]


@given(count=st.integers(1, 60), size=st.integers(1, 70), epoch=st.integers(0, 5))
def test_an_epoch_visits_every_sample_exactly_once(count: int, size: int, epoch: int) -> None:
    found = order(count, size, seed=1, iteration=2, epoch=epoch)
    assert sorted(found) == list(range(count))


@given(count=st.integers(1, 60), size=st.integers(1, 70))
def test_all_minibatches_but_the_last_are_full(count: int, size: int) -> None:
    visits = minibatches(numbered(count), size, epochs=range(1), seed=0, iteration=0)
    sizes = [len(minibatch) for minibatch in visits]
    assert all(found == size for found in sizes[:-1])
    assert 1 <= sizes[-1] <= size


def test_without_a_size_the_whole_batch_is_one_minibatch() -> None:
    (whole,) = minibatches(numbered(13), None, epochs=range(1), seed=0, iteration=0)
    assert len(whole) == 13
    assert sorted(whole.tolist()) == list(range(13))


def test_the_fields_of_a_sample_stay_together() -> None:
    for drawn in minibatches(numbered(20), 6, epochs=range(1), seed=3, iteration=1):
        minibatch, rows = numbered(20)[drawn], drawn.tolist()
        assert rows != sorted(rows)
        for field in (minibatch.actions, minibatch.logprobs, minibatch.values, minibatch.envs):
            assert field.tolist() == rows
        assert minibatch.obs["gear"].tolist() == rows
        assert minibatch.obs["place"].tolist() == [[row, row] for row in rows]


def test_each_of_seed_iteration_and_epoch_decides_the_order() -> None:
    orders = [
        tuple(order(40, 7, seed=seed, iteration=iteration, epoch=epoch))
        for seed, iteration, epoch in itertools.product(range(3), repeat=3)
    ]
    assert len(set(orders)) == len(orders)


def test_nothing_but_seed_iteration_and_epoch_decides_the_order() -> None:
    first = order(40, 7, seed=1, iteration=2, epoch=3)
    with torch.random.fork_rng():
        torch.manual_seed(12345)
        torch.rand(10)
        assert order(40, 7, seed=1, iteration=2, epoch=3) == first
    assert order(40, 9, seed=1, iteration=2, epoch=3) == first


def test_an_epoch_takes_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    order(40, 7, seed=1, iteration=2, epoch=3)
    assert torch.equal(torch.get_rng_state(), before)
