"""What of Ray's private modules distpg replaces or uses; any release may change it.

`gcs.py` has what it asks a cluster before it joins.
"""

import shlex
import subprocess
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from distpg.errors import InputError

TESTED = "ray[default]>=2.60,<2.61"
"""The versions of Ray whose private names were tested, as in pyproject.toml."""
TESTED_PREFIX = "2.60."
"""How those versions begin."""
SERVICES = ("start_monitor", "start_log_monitor", "start_api_server")
"""Autoscaler, log forwarding and dashboard server: three Python processes that no run needs."""
AGENT_PORTS = {
    "--dashboard_agent_command": (
        "metrics_agent_port",
        "metrics_export_port",
        "dashboard_agent_listen_port",
    ),
    "--runtime_env_agent_command": ("runtime_env_agent_port",),
}
"""The options by which the raylet starts its agents, two more such processes, and the ports that it
waits for.
"""
STAND_IN = """
trap '' INT
for file; do echo -1 > "$file.new"; mv "$file.new" "$file"; done
exec cat > /dev/null
"""
"""A shell script in place of an agent: it says that there are no ports, and ends with the raylet,
but not at Ctrl-C.
"""
COUNTS = b"distpg-counts"
"""The namespace of counts in Ray's internal key-value store."""
COUNT_S = 5.0
"""Deadline of reading or writing one."""


def no_op(*_: object, **__: object) -> None:
    """Do nothing."""


def replacements() -> list[tuple[Any, dict[str, object]]]:
    """List modules and classes of Ray, each with its attributes to replace."""
    import ray
    from ray._private import ray_constants, services, utils, worker
    from ray._private.node import Node

    tested = ray.__version__.startswith(TESTED_PREFIX)
    return [
        # signals must end a run in good order
        (utils, {"set_sigterm_handler": no_op}),
        (ray_constants, {"RAY_DISABLE_FAILURE_SIGNAL_HANDLER": True}),
        # a long report of each process that died, even with --quiet
        (worker, {"print_to_stdstream": no_op}),
        (Node, dict.fromkeys(SERVICES, no_op)),
        # looking for the dashboard's packages would import them
        (utils, {"get_dashboard_dependency_error": lambda: ImportError("not needed")}),
        *([(services, {"start_ray_process": starting_no_agents(services)})] if tested else []),
    ]


def starting_no_agents(services: Any) -> Callable[..., Any]:
    """Return `services.start_ray_process`, with which the raylet's agents are not started."""
    start = services.start_ray_process

    def start_ray_process(command: Iterable[Any], *arguments: Any, **options: Any) -> Any:
        return start([without_agent(str(word)) for word in command], *arguments, **options)

    return start_ray_process


def without_agent(word: str) -> str:
    """Put a stand-in into a word of a command if it is an option that names an agent.

    Ray quotes the agent's command by the rules of Windows, which differ from a shell's for an
    apostrophe: an agent whose path has one is started.
    """
    option, _, agent = word.partition("=")
    if option not in AGENT_PORTS or "'" in agent:
        return word
    options = {
        name: value for name, _, value in (part.partition("=") for part in shlex.split(agent))
    }
    folder, node = options["--session-dir"], options["--node-id"]
    files = [f"{folder}/{port}_{node}" for port in AGENT_PORTS[option]]
    return f"{option}={subprocess.list2cmdline(['sh', '-c', STAND_IN.strip(), 'sh', *files])}"


def missing() -> str:
    """Return one line on the names that this Ray version lacks, or nothing if it has all."""
    import ray

    names = [
        f"{owner.__name__}.{name}"
        for owner, changes in replacements()
        for name in changes
        if name not in vars(owner)
    ]
    if not names:
        return ""
    return (
        f"ray {ray.__version__} has no {', '.join(names)}: it may print more, start more processes "
        f"and handle signals itself; distpg is tested with {TESTED}"
    )


@contextmanager
def patched_ray(say: Callable[[str], None]) -> Generator[None]:
    """Context manager: apply the replacements, and report those that this Ray version lacks."""
    if problem := missing():
        say(problem)
    with ExitStack() as stack:
        for owner, changes in replacements():
            there = {name: value for name, value in changes.items() if name in vars(owner)}
            stack.enter_context(changed(owner, there))
        yield


@contextmanager
def changed(owner: Any, changes: Mapping[str, object]) -> Generator[None]:
    """Context manager: set attributes, and restore them afterwards."""
    before = {name: vars(owner)[name] for name in changes}
    for name, value in changes.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


@contextmanager
def on_loopback() -> Generator[None]:
    """Context manager: a Ray instance that is started here listens on 127.0.0.1 only.

    Raises:
        InputError: this Ray version cannot be restricted to loopback.
    """
    from ray._private import ray_constants

    if "ENABLE_RAY_CLUSTER" not in vars(ray_constants):
        raise InputError(not_on_loopback("has no ray_constants.ENABLE_RAY_CLUSTER"))
    # Ray may have been imported, and have read the environment variable, before
    with changed(ray_constants, {"ENABLE_RAY_CLUSTER": False}):
        yield


def check_loopback(address: str) -> None:
    """Check the address of a started Ray instance.

    Raises:
        InputError: other machines can reach it.
    """
    host, _, _ = address.rpartition(":")
    if host not in ("127.0.0.1", "[::1]"):
        raise InputError(not_on_loopback(f"listens on {address}"))


def not_on_loopback(problem: str) -> str:
    """Word the refusal of a local Ray instance that other machines could reach."""
    import ray

    return (
        f"ray {ray.__version__} {problem}, so a local Ray instance would be reachable from other "
        f"machines; pip install '{TESTED}', use --num-workers 0, or join a cluster with --address"
    )


def key_value_store() -> Any:
    """Return a client of Ray's internal key-value store, which answers while actors are busy."""
    from ray.experimental import internal_kv

    return internal_kv.internal_kv_get_gcs_client()


def own_key() -> bytes:
    """Return the key of the actor that calls this."""
    import ray

    return str(ray.get_runtime_context().get_actor_id()).encode()


def put_count(count: int) -> None:
    """Keep a count of the actor that calls this."""
    value = str(count).encode()
    key_value_store().internal_kv_put(own_key(), value, True, COUNTS, timeout=COUNT_S)


def drop_count() -> None:
    """Remove the count of the actor that calls this."""
    key_value_store().internal_kv_del(own_key(), False, COUNTS, timeout=COUNT_S)


def get_count(actor: Any) -> int:
    """Return the count of an actor, or 0 if it has none."""
    key = actor._actor_id.hex().encode()
    return int(key_value_store().internal_kv_get(key, COUNTS, timeout=COUNT_S) or 0)


def running_cluster() -> str:
    """Return host:port of the cluster that `--address auto` joins.

    Raises:
        InputError: this Ray version cannot be asked.
        ConnectionError: there is no cluster on this machine, or several.
    """
    import ray
    from ray._private import services

    find = vars(services).get("canonicalize_bootstrap_address_or_die")
    if find is None:
        raise InputError(
            f"--address: auto is not supported with ray {ray.__version__}; pass host:port, or "
            f"pip install '{TESTED}'"
        )
    return find("auto")
