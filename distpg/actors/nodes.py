"""What a Ray is worth before a run: one of our own is tried, the nodes of a cluster are asked."""

import os
import time
from collections.abc import Iterator
from typing import Any

from distpg.actors.cluster import QUIET, environment, joined_ray, own_ray
from distpg.config.config import Config
from distpg.doctor import facts
from distpg.doctor.check import Check
from distpg.doctor.machine import Node, judge, list_hosts
from distpg.doctor.process import Report

JOIN_S, ANSWER_S = 10.0, 60.0
"""For a cluster to be joined, and for what is asked of a Ray that runs."""
DEADLINE_S = JOIN_S + ANSWER_S + 20
"""For the start of a Ray, or for joining one, and its answers."""


def own() -> Iterator[Report]:
    """Start a Ray of our own, as a run without --address does, and have an actor in it answer."""
    yield "Ray"
    began = time.perf_counter()
    with environment(QUIET), own_ray(Config(num_workers=1), say=unheard):
        import ray

        started = time.perf_counter()

        class Actor:
            def pid(self) -> int:
                return os.getpid()

        actor: Any = ray.remote(Actor).remote()
        ray.get(actor.pid.remote(), timeout=ANSWER_S)
        answered = time.perf_counter()
    found = f"starts in {started - began:.1f} s, an actor in {answered - started:.1f} s"
    yield Check("PASS", "Ray", found)


def answering(address: str) -> Iterator[Report]:
    """Join a cluster, no more."""
    yield "address"
    with environment(QUIET), joined_ray(address):
        yield Check("PASS", "address", f"a Ray cluster answers at {address}")


def joined(address: str) -> Iterator[Report]:
    """Join a cluster, and check each of its nodes."""
    yield "nodes"
    with environment(QUIET), joined_ray(address):
        nodes, silent = survey()
        if silent:
            advice = "look at `ray status`; run `ray stop` and `ray start` there again"
            yield Check("FAIL", "nodes", f"no answer from {list_hosts(silent)}", advice)
        else:
            yield Check(
                "PASS", "nodes", f"{len(nodes)} answer: {list_hosts([x.host for x in nodes])}"
            )
        if nodes:
            yield from judge(nodes, joined=True)


def unheard(_: str) -> None:
    """Say nothing."""


def survey() -> tuple[list[Node], list[str]]:
    """Ask every node of the cluster what it is.

    Returns:
        What they answered, and the addresses of those that did not in time.
    """
    import ray
    from ray import cloudpickle
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # by value, since a node may lack distpg, which is then what is found
    cloudpickle.register_pickle_by_value(facts)
    gather: Any = ray.remote(num_cpus=0, max_retries=0)(facts.gather)
    alive = [node for node in ray.nodes() if node["Alive"]]
    asked = [
        gather.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in alive
    ]
    ray.wait(asked, num_returns=len(asked), timeout=ANSWER_S)
    nodes: list[Node] = []
    silent: list[str] = []
    for node, ref in zip(alive, asked, strict=True):
        try:
            known: dict[str, Any] = ray.get(ref, timeout=0)
        except RayError:
            silent.append(node["NodeManagerAddress"])
            continue
        counted = node["Resources"]
        known["cores"] = int(counted.get("CPU", 0))
        known["gpus"] = max(known["gpus"], int(counted.get("GPU", 0)))
        nodes.append(Node(**known))
    return nodes, silent
