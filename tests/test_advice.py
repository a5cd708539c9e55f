"""What limits a run: the arithmetic, with numbers worked by hand."""

import re
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from distpg.bench.advice import Measurement, duration, predict, verdict

SLOW_ENV = Measurement(
    cores=8,
    num_workers=1,
    num_slots=4,
    overlap=False,
    may_compile=False,
    may_overlap=False,
    num_epochs=10,
    value_epochs=0,
    minibatch_size=64,
    batch_steps=4000,
    batch_bytes=10**6,
    stepping_per_s=4000,
    acting_per_s=1000,
    transfer_s=0.4,
    device="cpu",
    update_s={"cpu": 0.4},
    doubled_s=0.3,
)
"""A slot's 1000 steps take 1 s, and 0.1 s to hand over; the one worker plays four of them."""


def seconds_of(**changes: Any) -> tuple[float, float, float]:
    iteration = predict(replace(SLOW_ENV, **changes))
    return iteration.collect_s, iteration.transfer_s, iteration.update_s


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, (4, 0.4, 0.4)),
        ({"num_workers": 2}, (2, 0.2, 0.4)),
        ({"num_workers": 3}, (2, 0.2, 0.4)),
        ({"num_workers": 4}, (1, 0.1, 0.4)),
        ({"num_workers": 0}, (4, 0, 0.4)),
        ({"num_workers": 4, "cores": 2}, (2, 0.2, 0.4)),
        ({"num_workers": 4, "cores": 3}, (4 / 3, 0.4 / 3, 0.4)),
        ({"update_s": {"cpu": 3, "cuda": 0.5}, "device": "cuda"}, (4, 0.4, 0.5)),
    ],
    ids=str,
)
def test_the_busiest_worker_decides_when_collecting_ends(
    changes: dict[str, Any], seconds: tuple[float, float, float]
) -> None:
    assert seconds_of(**changes) == pytest.approx(seconds)


def test_with_overlap_the_longer_part_decides() -> None:
    ahead = predict(replace(SLOW_ENV, overlap=True))
    assert ahead.seconds == pytest.approx(4.4)
    assert ahead.steps_per_s == pytest.approx(4000 / 4.4)
    long = predict(replace(SLOW_ENV, overlap=True, update_s={"cpu": 5.0}))
    assert long.seconds == pytest.approx(5)


def test_a_compiled_update_is_advised_where_it_is_not_compiled_yet() -> None:
    slow = replace(SLOW_ENV, update_s={"cpu": 60.0})
    assert "--compile" not in verdict(slow)
    assert "; --compile on or fewer" in verdict(replace(slow, may_compile=True))


def test_overlap_is_advised_where_both_parts_are_long_and_the_estimator_allows_it() -> None:
    even = replace(SLOW_ENV, num_workers=7, cores=8, update_s={"cpu": 1.0}, may_overlap=True)
    assert verdict(even).endswith("; --overlap does both at once")
    for changes in ({"overlap": True}, {"may_overlap": False}):
        assert "--overlap" not in verdict(replace(even, **changes))


def test_speeds_and_shares() -> None:
    iteration = predict(SLOW_ENV)
    assert iteration.seconds == pytest.approx(4.8)
    assert iteration.steps_per_s == pytest.approx(4000 / 4.8)
    assert iteration.limit_per_s == 4000
    assert iteration.limit_share == pytest.approx(1 / 4.8)
    assert predict(replace(SLOW_ENV, num_workers=2)).limit_per_s == 8000
    assert SLOW_ENV.policy_share == 0.75
    assert replace(SLOW_ENV, stepping_per_s=999).policy_share == 0
    assert SLOW_ENV.samples_per_s == {"cpu": pytest.approx(100_000)}
    assert replace(SLOW_ENV, value_epochs=2).samples_per_s == {"cpu": pytest.approx(120_000)}


FACTS = "collecting takes 4.4 s of an iteration, updating 400 ms"
UPDATING = {"update_s": {"cpu": 8.8}, "doubled_s": 8.7}
BOUND_BY_UPDATE = "update-bound: collecting takes 4.4 s of an iteration, updating 8.8 s; "
VERDICTS: list[tuple[dict[str, Any], str]] = [
    (
        {},
        f"collection-bound: {FACTS}; --num-workers 4 (this machine has 8 cores) would collect in "
        "1.1 s",
    ),
    (
        # six slots on four workers would be no faster than on three
        {"num_slots": 6, "batch_steps": 6000, "cores": 5, "transfer_s": 0.6},
        "collection-bound: collecting takes 6.6 s of an iteration, updating 400 ms; --num-workers "
        "3 (this machine has 5 cores) would collect in 2.2 s",
    ),
    (
        {"num_workers": 4, "update_s": {"cpu": 0.1}},
        "collection-bound: collecting takes 1.1 s of an iteration, updating 100 ms; more workers "
        "need more slots: --num-slots 7 --num-workers 7 (this machine has 8 cores) would collect "
        "1.75 times the steps in the same time",
    ),
    (
        {"num_workers": 2, "cores": 4},
        "collection-bound: collecting takes 2.2 s of an iteration, updating 400 ms; more workers "
        "need more slots: --num-slots 6 --num-workers 3 (this machine has 4 cores) would collect "
        "1.5 times the steps in the same time",
    ),
    (
        {"cores": 2},
        f"collection-bound: {FACTS}; workers and learner use all cores of this machine (2): a "
        "cluster (--address) adds workers",
    ),
    (
        {"cores": 2, "num_workers": 4},
        "collection-bound: collecting takes 2.2 s of an iteration, updating 400 ms; workers and "
        "learner use all cores of this machine (2): a cluster (--address) adds workers, which "
        "need more --num-slots",
    ),
    (UPDATING, f"{BOUND_BY_UPDATE}fewer --num-epochs (now 10)"),
    (
        UPDATING | {"value_epochs": 3, "doubled_s": 5},
        f"{BOUND_BY_UPDATE}fewer --num-epochs (now 10) or fewer --value-epochs (now 3) or "
        "--minibatch-size 128, which updates in 5 s",
    ),
    (
        UPDATING | {"num_epochs": 1, "minibatch_size": None, "doubled_s": None},
        f"{BOUND_BY_UPDATE}only a smaller network or another batch would help",
    ),
    (
        {"update_s": {"cpu": 4.4}, "cores": 2},
        "balanced: collecting takes 4.4 s of an iteration, updating 4.4 s",
    ),
    (
        {"update_s": {"cpu": 4.4}},
        "balanced: collecting takes 4.4 s of an iteration, updating 4.4 s; --num-workers 4 (this "
        "machine has 8 cores) would collect in 1.1 s",
    ),
    (
        {"update_s": {"cpu": 0.4, "cuda": 1.4}, "device": "cuda"},
        "GPU slower than CPU for this network: use --device cpu; updating takes 1.4 s on the GPU, "
        "400 ms on the CPU",
    ),
    (
        {"update_s": {"cpu": 9, "cuda": 1.4}},
        "CPU slower than GPU for this network: use --device cuda; updating takes 9 s on the CPU, "
        "1.4 s on the GPU",
    ),
    (
        # 0.2 s of 5 s are no reason to change the device
        {"update_s": {"cpu": 0.4, "cuda": 0.6}, "device": "cuda", "cores": 2},
        "collection-bound: collecting takes 4.4 s of an iteration, updating 600 ms; workers and "
        "learner use all cores of this machine (2): a cluster (--address) adds workers",
    ),
]


@pytest.mark.parametrize(("changes", "said"), VERDICTS, ids=str)
def test_the_verdict_follows_from_the_numbers(changes: dict[str, Any], said: str) -> None:
    assert verdict(replace(SLOW_ENV, **changes)) == said


def test_workers_are_advised_for_cores_that_are_free_and_only_if_they_collect_faster() -> None:
    advised = 0
    for cores, num_workers, num_slots in product(range(1, 10), range(10), range(1, 20)):
        if num_slots < num_workers:
            continue
        measured = replace(SLOW_ENV, cores=cores, num_workers=num_workers, num_slots=num_slots)
        measured = replace(measured, batch_steps=1000 * num_slots, update_s={"cpu": 0.1})
        advice = verdict(measured).partition(";")[2]
        settings = {
            name.replace("-", "_"): int(value)
            for name, value in re.findall(r"--(num-\w+) (\d+)", advice)
        }
        if not settings:
            assert cores - 1 <= max(1, num_workers)
            assert "--address" in advice
            continue
        advised += 1
        assert max(1, num_workers) < settings["num_workers"] <= cores - 1
        more = replace(measured, **settings)
        more = replace(more, batch_steps=1000 * more.num_slots)
        assert predict(more).limit_per_s > predict(measured).limit_per_s
    assert advised > 100


def test_durations() -> None:
    assert [duration(x) for x in (12.345, 1.0, 0.99, 0.01234, 0.00005)] == [
        "12.3 s",
        "1 s",
        "990 ms",
        "12.3 ms",
        "0.05 ms",
    ]
