"""Which place a process of a run gets, and what is said of those that wait; without Ray."""

from typing import Any

import pytest
from ray.util.placement_group import PlacementGroup

from distpg import Config
from distpg.actors import head, placement
from distpg.actors.placement import CLIPS, EVALUATOR, LEARNER, Place, Places, Role, Waiting
from distpg.errors import RunError
from tests.actors.test_actors import tiny

Nodes = dict[int, str]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """The node of each bundle, as Ray tells; no text stands for one that is lost."""
    found: Nodes = {}

    def table(group: Any) -> dict[str, Nodes]:
        return {"bundles_to_node_id": found}

    monkeypatch.setattr(placement, "placement_group_table", table)
    return found


def one_gpu(config: Config) -> int:
    return 1


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What is free, as Ray tells; there is a GPU for the learner."""
    found: dict[str, float] = {}
    monkeypatch.setattr(placement.ray, "available_resources", lambda: found)
    monkeypatch.setattr(placement, "learner_gpus", one_gpu)
    return found


def places_of(num_workers: int, *others: Role, **changes: Any) -> Places:
    places = Places(tiny(num_workers, num_slots=num_workers, **changes), print, others)
    places.group = PlacementGroup.empty()
    return places


def bundles(places: Places, *roles: Role) -> list[int | None]:
    return [places.take(role).bundle for role in roles]


def test_each_process_gets_its_own_bundle_and_later_workers_any_cpu(free: Any) -> None:
    places = places_of(3, LEARNER, EVALUATOR, min_workers=2)
    assert places.roles == [LEARNER, EVALUATOR, 0, 1]
    learner, *_ = taken = [places.take(role) for role in (LEARNER, 1, 0, 2, EVALUATOR, CLIPS)]
    assert [place.bundle for place in taken] == [0, 3, 2, None, 1, None]
    assert (learner.options["num_cpus"], learner.options["num_gpus"]) == (1, 1)
    assert {(x.options["num_cpus"], x.options["num_gpus"]) for x in taken[1:]} == {(1, 0)}
    assert taken[3].options["scheduling_strategy"] == "SPREAD"
    strategy = taken[1].options["scheduling_strategy"]
    assert (strategy.placement_group, strategy.placement_group_bundle_index) == (places.group, 3)


def test_a_label_is_asked_for_outside_the_group_too(free: Any) -> None:
    places = places_of(2, LEARNER, min_workers=1, learner_label="gpu=H100", worker_label="a=b=c")
    assert places.take(1).options["label_selector"] == {"a": "b=c"}
    assert bundles(places, LEARNER, 0) == [0, 1]
    again = places.take(LEARNER)
    assert (again.bundle, again.options["label_selector"]) == (None, {"gpu": "H100"})


def test_a_replacement_gets_its_bundle_or_that_of_another_but_none_that_is_lost(
    nodes: Nodes,
) -> None:
    places = places_of(3)
    first, second, third = (places.take(worker) for worker in range(3))
    # the node of the first two is lost
    nodes |= {0: "", 1: "", 2: "alive"}
    places.give_back(first)
    places.give_back(second)
    assert not places.has_free_bundle(0)
    assert bundles(places, 0) == [None]
    # and later the process in the third
    places.give_back(third)
    assert bundles(places, 1, 2) == [2, None]
    # what was lost has come back, and each has its own before others
    nodes |= {0: "new", 1: "new"}
    assert places.has_free_bundle(0)
    assert bundles(places, 1, 0) == [1, 0]


def test_the_learner_and_a_worker_do_not_take_each_others_bundles(free: Any, nodes: Nodes) -> None:
    places = places_of(1, LEARNER, EVALUATOR)
    learner, evaluator, worker = (places.take(role) for role in (LEARNER, EVALUATOR, 0))
    nodes |= {0: "alive", 1: "", 2: ""}
    places.give_back(evaluator)
    places.give_back(learner)
    # it has a GPU
    assert bundles(places, EVALUATOR) == [None]
    nodes |= {0: "", 2: "alive"}
    places.give_back(worker)
    assert not places.has_free_bundle(LEARNER)
    assert not places.would_fit(LEARNER, worker, 0)
    # but the evaluation process needs what a worker needs
    assert bundles(places, EVALUATOR) == [2]


def test_the_learner_takes_a_workers_bundle_where_it_needs_no_more(nodes: Nodes) -> None:
    places = places_of(2)
    worker = places.take(1)
    assert places.would_fit(LEARNER, worker, 1)
    places.give_back(worker)
    assert places.hand_over(worker, LEARNER) is worker
    # which is free no more
    nodes |= {0: "alive", 1: "alive"}
    assert bundles(places, 1, 0) == [0, None]
    assert places.hand_over(Place(None, {}), LEARNER) is None


def test_a_place_would_do_if_the_label_does_and_a_gpu_is_free(free: dict[str, float]) -> None:
    plain = Place(None, {})
    assert not places_of(2, LEARNER).would_fit(LEARNER, plain, 1)
    free["GPU"] = 1.0
    assert places_of(2, LEARNER).would_fit(LEARNER, plain, 1)
    assert places_of(2, LEARNER, worker_label="a=b").would_fit(LEARNER, plain, 1)
    assert not places_of(2, LEARNER, learner_label="a=b").would_fit(LEARNER, plain, 1)
    places = places_of(2, LEARNER)
    assert places.has_room(LEARNER)
    places.take(LEARNER)
    assert not places.has_room(LEARNER)
    free["CPU"] = 1.0
    assert places.has_room(LEARNER)
    free["GPU"] = 0.0
    assert not places.has_room(LEARNER)


def test_what_is_missing_and_what_is_free_is_said(
    free: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(placement.time, "monotonic", lambda: now[0])
    labels = {"learner_label": "gpu=H100", "worker_label": "zone=a"}
    places = places_of(2, LEARNER, wait_for_resources=80.0, **labels)
    free["CPU"] = 8.0
    waiting = Waiting(places, 13, 1)
    assert waiting.describe() == (
        "5 of 13 CPUs (free: 8) and a GPU (free: 0), label gpu=H100, label zone=a"
    )
    for now[0], over in ((109.0, False), (111.0, False), (120.0, False), (122.0, False)):
        assert waiting.is_over() == over
    assert capsys.readouterr().out == 2 * f"waiting for {waiting.describe()}\n"
    now[0] = 181.0
    assert waiting.is_over()
    assert "within 80 s the cluster had no place for 5 of 13" in str(waiting.refusal())
    # enough, but not where they are needed
    free |= {"CPU": 20.0, "GPU": 1.0}
    assert waiting.describe().startswith("13 of 13 CPUs (free: 20), label")


def test_who_does_not_wait_has_what_starting_takes(
    free: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(placement.time, "monotonic", lambda: now[0])
    waiting = Waiting(places_of(1, LEARNER, wait_for_resources=0.0), 1)
    now[0] = 104.0
    assert waiting.is_over(placement.AT_ONCE_S)
    assert not waiting.is_over()
    now[0] = 161.0
    assert waiting.is_over()


def test_nobody_waits_for_a_lost_head(free: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting(places_of(1, LEARNER), 1)
    monkeypatch.setattr(head, "addresses", ["127.0.0.1:1"])
    head.head_lost.set()
    try:
        with pytest.raises(RunError, match="head node is unreachable"):
            waiting.is_over()
    finally:
        head.head_lost.clear()
