"""The soak's own arithmetic; the soak itself is `make soak`."""

import random
from itertools import islice
from typing import Any

import pytest

from benchmarks.soak import FAULTS, SIZES, by_kind, checks, shuffled, slopes

SIDE: dict[str, Any] = {
    "worker_restarts": 0,
    "learner_restarts": 0,
    "lost": {},
    "trained_steps": 500,
    "env_steps": 500,
    "dropped_steps": 3,
    "episode_return_mean": 100.0,
    "policy_sha256": "a",
}


def test_every_fault_comes_before_any_comes_again_in_an_order_that_the_seed_decides() -> None:
    faults, same, other = (list(islice(shuffled(random.Random(s)), 20)) for s in (0, 0, 1))
    assert faults == same != other
    for deck in (faults[:10], faults[10:]):
        assert sorted(map(str, deck)) == sorted(map(str, FAULTS))


def test_memory_that_grows_by_2_mb_in_1000_iterations_has_that_slope_whatever_the_start() -> None:
    rows = [{"iteration": at, **dict.fromkeys(SIZES, 100 + at / 500)} for at in range(0, 2001, 50)]
    rows[0] |= dict.fromkeys(SIZES, 0.0)
    assert slopes(rows) == pytest.approx(dict.fromkeys(SIZES, 2.0))


def test_faults_are_summed_up_by_kind() -> None:
    faults = [{"fault": kind, "made_good_s": s} for kind, s in (("b", 1.0), ("a", 5.0), ("b", 3.0))]
    assert by_kind(faults) == {
        "a": {"times": 1, "made_good_s": 5.0},
        "b": {"times": 2, "made_good_s": 2.0},
    }


@pytest.mark.parametrize(
    "change",
    [
        {"worker_restarts": 1},
        {"lost": {"learner": 1}},
        {"trained_steps": 499},
        {"dropped_steps": 4},
        {"episode_return_mean": 94.0},
        {"policy_sha256": "b"},
    ],
    ids=str,
)
def test_each_check_fails_where_it_should_and_alone(change: dict[str, Any]) -> None:
    assert all(checks(SIDE, SIDE).values())
    assert list(checks(SIDE, {**SIDE, **change}).values()).count(False) == 1
