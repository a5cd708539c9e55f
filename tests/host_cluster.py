"""A Ray cluster on hosts: the first is its head."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.hosts import RAYLET, Host, command_line

PORT = 6379
NO_TOKENS = {"RAY_AUTH_MODE": "disabled"}
QUICK = {
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
}
"""Of the head: a host that is silent for 20 s is lost."""
OWN = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
NODES = """
import json, logging, ray
ray.init("auto", log_to_driver=False, logging_level=logging.CRITICAL)
keys = ("NodeManagerAddress", "Alive")
print(json.dumps([[node[key] for key in keys] for node in ray.nodes()]))
"""


def token(text: str) -> dict[str, str]:
    """Return the variables of a cluster whose token is a text."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": text}


def start(hosts: list[Host], cpus: list[int], **variables: str) -> str:
    """Start the head on the first host, and a node on each other one; return its address.

    Args:
        hosts: where.
        cpus: logical CPUs of each.
        variables: of `ray start`, on each. Default: no tokens, `QUICK` detection of loss.
    """
    variables = {**NO_TOKENS, **QUICK, **variables}
    head, *nodes = hosts
    address = f"{head.address}:{PORT}"
    as_head = ["--head", "--port", str(PORT), "--include-dashboard=false"]
    start_node(head, cpus[0], *as_head, **variables)
    with ThreadPoolExecutor() as pool:
        begun = [
            pool.submit(start_node, node, count, "--address", address, **variables)
            for node, count in zip(nodes, cpus[1:], strict=True)
        ]
    for start_of_a_node in begun:
        start_of_a_node.result()
    wait_until(lambda: alive(head, **variables) == {host.address for host in hosts})
    return address


def restore(hosts: list[Host], cpus: list[int], **variables: str) -> None:
    """Have the cluster as `start` leaves it; if a node is missing, all hosts boot again."""
    if all(host.is_on() and host.processes(RAYLET) for host in hosts):
        variables = {**NO_TOKENS, **variables}
        if alive(hosts[0], **variables) == {host.address for host in hosts}:
            return
    for host in hosts:
        if host.is_on():
            host.power_off()
        host.boot()
    start(hosts, cpus, **variables)


def start_node(host: Host, cpus: int, *words: str, **variables: str) -> None:
    """Run `ray start` on a host, with little memory for objects."""
    own = ["--node-ip-address", host.address, "--object-store-memory", "200000000"]
    command = ["ray", "start", *words, "--num-cpus", str(cpus), *own]
    host.output(*command, timeout=120, **{**OWN, **variables})


def alive(host: Host, **variables: str) -> set[str]:
    """Return the addresses of the nodes that Ray counts as alive, as a host of it is told."""
    output = host.output("python", "-c", NODES, timeout=120, **{**OWN, **variables})
    # Ray may write, too
    (line,) = [line for line in output.splitlines() if line.startswith("[[")]
    return {address for address, is_alive in json.loads(line) if is_alive}


def wait_until(true: Callable[[], bool], timeout: float = 120.0) -> float:
    """Wait until something is true; return how many seconds that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() < began + timeout, "it did not come true"
        time.sleep(0.2)
    return time.monotonic() - began


def actors(host: Host, name: str = "Actor") -> int:
    """Count the actors on a host, or those whose class has a name."""
    return sum(name in command_line(process) for process in host.processes("ray::"))
