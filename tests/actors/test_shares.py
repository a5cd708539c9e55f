"""Which worker hosts which slots: by hand, and whatever workers come and go."""

import math
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from distpg.actors.shares import deal, loads, share_out

sizes = st.tuples(st.integers(1, 8), st.integers(0, 8)).map(lambda two: (two[0], sum(two)))
"""Numbers of workers and of slots; each worker has a slot at least."""


def test_slots_are_dealt_round_robin_among_all_and_among_the_first() -> None:
    assert share_out({}, 5, 2, range(2)) == {0: 0, 1: 1, 2: 0, 3: 1, 4: 0}
    # of four workers the first two are there: the others' slots go to who has the fewest
    assert share_out({}, 6, 4, range(2)) == {0: 0, 1: 1, 2: 0, 3: 1, 4: 0, 5: 1}


def test_a_lost_workers_slots_go_to_the_others_and_come_back_to_its_replacement() -> None:
    before = share_out({}, 7, 3, range(3))
    assert before == {0: 0, 1: 1, 2: 2, 3: 0, 4: 1, 5: 2, 6: 0}
    without = share_out(before, 7, 3, {0, 2})
    # 2 has two slots and 0 has three
    assert without == {**before, 1: 2, 4: 0}
    assert share_out(without, 7, 3, {0, 1, 2}) == before


def test_a_slot_whose_home_is_gone_stays_where_it_is() -> None:
    # 3 is lost after 2, whose slots are at 0 and 1
    without_2 = share_out({}, 8, 4, {0, 1, 3})
    assert (without_2[2], without_2[6]) == (0, 1)
    without_both = share_out(without_2, 8, 4, {0, 1})
    assert without_both == {**without_2, 3: 0, 7: 1}
    # 2 takes its own back, and those of 3 stay
    assert share_out(without_both, 8, 4, {0, 1, 2}) == {**without_both, 2: 2, 6: 2}


def test_a_slot_goes_to_who_has_the_fewest_then_and_of_equals_to_the_first() -> None:
    assert deal([4, 9, 2], {1: 2, 5: 1}) == {4: 5, 9: 1, 2: 5}
    assert deal([], {0: 3}) == {}
    assert loads({0: 5, 1: 1, 2: 5}, {5, 1, 3}) == {1: 1, 3: 0, 5: 2}


def test_workers_that_join_one_by_one_have_equal_shares() -> None:
    hosts = share_out({}, 16, 16, {0})
    for number in range(1, 8):
        hosts = share_out(hosts, 16, 16, {*range(number + 1)})
    assert set(loads(hosts, range(8)).values()) == {2}


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, int, list[set[int]]]:
    """Numbers of workers and of slots, and who is there at each iteration."""
    num_workers, num_slots = draw(sizes)
    workers = st.sets(st.integers(0, num_workers - 1), min_size=1)
    return num_workers, num_slots, draw(st.lists(workers, min_size=1, max_size=6))


@given(history=histories())
def test_every_slot_has_a_worker_that_is_there_and_only_what_must_move_does(
    history: tuple[int, int, list[set[int]]],
) -> None:
    num_workers, num_slots, iterations = history
    before: Mapping[int, int] = {}
    for living in iterations:
        hosts = share_out(before, num_slots, num_workers, living)
        assert list(hosts) == [*range(num_slots)]
        share = math.ceil(num_slots / len(living))
        for slot, worker in hosts.items():
            home = slot % num_workers
            assert worker in living
            if home in living:
                assert worker == home
            elif before.get(slot) in living and worker != before[slot]:
                assert loads(hosts, living)[before[slot]] == share
        assert max(loads(hosts, living).values()) <= share
        before = hosts


@given(history=histories())
def test_losses_leave_no_worker_with_two_slots_more_than_another(
    history: tuple[int, int, list[set[int]]],
) -> None:
    num_workers, num_slots, iterations = history
    living = {*range(num_workers)}
    hosts = share_out({}, num_slots, num_workers, living)
    for left in iterations:
        living = living & left or living
        hosts = share_out(hosts, num_slots, num_workers, living)
        counts = loads(hosts, living).values()
        assert max(counts) - min(counts) <= 1
