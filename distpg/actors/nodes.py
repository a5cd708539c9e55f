"""doctor's Ray checks: start a local instance, or query every node of a cluster."""

import os
import time
from collections.abc import Iterator
from typing import Any

from distpg.actors import gcs
from distpg.actors.cluster import QUIET, environment, joined_ray, local_ray
from distpg.actors.ray_internals import TESTED, missing, no_op
from distpg.config.config import Config
from distpg.doctor import facts
from distpg.doctor.check import Begin, Check, Report
from distpg.doctor.machine import Node, judge, list_hosts

JOIN_S, ANSWER_S = 10.0, 60.0
"""Timeouts for joining a cluster, and for the answers of actors and nodes."""
DEADLINE_S = JOIN_S + 2 * ANSWER_S + 20
"""Timeout for starting or joining Ray, and the answers."""
QUICK_S = 30.0
"""How soon a run should know of a lost machine, so that others do its work."""
QUICK = {"period_ms": 2000, "timeout_ms": 3000, "failure_threshold": 4}
"""Health checks by which that is 20 s, and a link that is down for 10 s is no loss. With a
threshold of 3 it is: TCP, which waits twice as long each time, sends again only after 13 s.
"""


def local() -> Iterator[Report]:
    """Start a local Ray instance, as a run without --address does, and call an actor in it."""
    yield Begin("Ray")
    began = time.perf_counter()
    with environment(QUIET), local_ray(Config(num_workers=1), say=no_op):
        import ray

        started = time.perf_counter()

        class Actor:
            def pid(self) -> int:
                return os.getpid()

        actor: Any = ray.remote(Actor).remote()
        ray.get(actor.pid.remote(), timeout=ANSWER_S)
        answered = time.perf_counter()
    if problem := missing():
        yield Check("WARN", "Ray", problem, f"pip install '{TESTED}'")
        return
    found = f"starts in {started - began:.1f} s, an actor in {answered - started:.1f} s"
    yield Check("PASS", "Ray", found)


def answering(address: str) -> Iterator[Report]:
    """Join a cluster, and nothing more."""
    yield Begin("address")
    with environment(QUIET), joined_ray(address, say=no_op):
        yield Check("PASS", "address", f"a Ray cluster answers at {address}")


def joined(address: str) -> Iterator[Report]:
    """Join a cluster, and check each of its nodes."""
    yield Begin("nodes")
    with environment(QUIET), joined_ray(address, say=no_op):
        nodes, silent = survey()
        if silent:
            advice = "check `ray status`; run `ray stop` and `ray start` there"
            yield Check("FAIL", "nodes", f"no answer from {list_hosts(silent)}", advice)
        else:
            yield Check(
                "PASS", "nodes", f"{len(nodes)} answer: {list_hosts([x.host for x in nodes])}"
            )
        if nodes:
            yield from judge(nodes, joined=True)
        yield loss_of_a_machine()


def survey() -> tuple[list[Node], list[str]]:
    """Query every node of the cluster.

    Returns:
        The nodes that answered in time, and the addresses of the others.
    """
    import ray
    from ray import cloudpickle
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # by value: distpg may be missing on a node, which the check is to report
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


def loss_of_a_machine() -> Check:
    """Check how soon Ray knows that a machine is gone which did not say so."""
    import ray
    from ray import cloudpickle
    from ray.exceptions import RayError

    cloudpickle.register_pickle_by_value(gcs)
    ask: Any = ray.remote(num_cpus=0, max_retries=0, resources={"node:__internal_head__": 0.001})
    try:
        seconds: float = ray.get(ask(gcs.seconds_until_lost).remote(), timeout=ANSWER_S)
    except RayError:
        return Check("FAIL", "lost machines", "no answer from the head", "check `ray status`")
    found = f"known as lost after {seconds:.0f} s without an answer"
    if seconds <= QUICK_S:
        return Check("PASS", "lost machines", found)
    settings = " ".join(f"RAY_health_check_{name}={value}" for name, value in QUICK.items())
    return Check("WARN", "lost machines", found, f"export {settings} before `ray start --head`")
