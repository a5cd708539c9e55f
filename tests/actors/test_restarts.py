"""How often processes may be lost: failures, and those of their nodes; without Ray's processes."""

import pytest

from distpg.actors import restarts as module
from distpg.actors.restarts import GRACE_S, Restarts
from distpg.errors import ProcessLostError, RunError
from distpg.report.fault_events import FaultEvents

LOST = ProcessLostError("rollout worker 1 died")
WITH_NODE = ProcessLostError("rollout worker 1 died", with_its_node=True)


class Cluster:
    """What Ray knows of nodes, and the time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lost_at: dict[str, float] = {}

    def lost_nodes(self) -> set[str]:
        return {node for node, when in self.lost_at.items() if when <= self.now}

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(module, "lost_nodes", made.lost_nodes)
    monkeypatch.setattr(module.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(module.time, "sleep", made.sleep)

    class Context:
        def get_node_id(self) -> str:
            return "here"

    monkeypatch.setattr(module.ray, "get_runtime_context", Context)
    return made


def restarts(allowed: int) -> Restarts:
    return Restarts(allowed, FaultEvents(print))


def test_a_loss_with_a_node_is_no_failure(cluster: Cluster) -> None:
    counted = restarts(0)
    cluster.lost_at["b"] = 0.0
    assert counted.count(WITH_NODE, "a") == counted.count(LOST, "b") == 0
    assert (counted.failed, counted.lost_with_node) == (0, 2)
    assert counted.faults.waiting[0] == (
        "lost_with_node",
        "rollout worker 1 died; starting a replacement",
    )


def test_a_failure_whose_node_turns_out_to_be_lost_soon_is_none(cluster: Cluster) -> None:
    counted = restarts(3)
    assert [counted.count(LOST, node) for node in "abc"] == [1, 1, 1]
    cluster.lost_at = {"a": 105.0, "b": 100.0 + GRACE_S + 5}
    cluster.now = 103.0
    counted.settle()
    assert (counted.failed, counted.lost_with_node) == (3, 0)
    cluster.now = 106.0
    counted.settle()
    counted.settle()
    assert (counted.failed, counted.lost_with_node) == (2, 1)
    # what comes later is another loss
    cluster.now = 100.0 + GRACE_S + 1
    counted.settle()
    cluster.now += 10
    counted.settle()
    assert (counted.failed, counted.lost_with_node) == (2, 1)
    assert counted.doubtful == []


def test_a_run_waits_for_a_verdict_on_the_node_before_it_gives_up(cluster: Cluster) -> None:
    counted = restarts(0)
    cluster.lost_at = {"a": 115.0}
    assert counted.count(LOST, "a") == 0
    assert 115 <= cluster.now < 116
    with pytest.raises(RunError, match=r"lost 1 times, more than --max-restarts 0; the last: roll"):
        counted.count(LOST, "b")
    assert 135 <= cluster.now < 137
    # neither that of this process nor one that is not known can be lost
    for node in ("here", ""):
        with pytest.raises(RunError):
            restarts(0).count(LOST, node)
    assert cluster.now < 137


def test_three_failures_over_the_same_work_end_the_run(cluster: Cluster) -> None:
    counted = restarts(10)
    cluster.lost_at["b"] = 0.0
    replaced: list[str] = []
    nodes = iter("abaab")

    def attempt() -> None:
        raise LOST

    with pytest.raises(RunError, match="lost 3 processes in a row"):
        counted.retry(attempt, lambda: replaced.append("x"), lambda: next(nodes))
    # those of b do not count
    assert (len(replaced), counted.failed, counted.lost_with_node) == (3, 3, 1)
