"""The Ray that a run uses: the caller's, a cluster that it joins, or one of its own on loopback."""

import logging
import os
import secrets
import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil

from distpg.actors.head import monitoring, ping
from distpg.config.config import Config
from distpg.envs.make import EnvSource
from distpg.errors import InputError, format_error
from distpg.signals import defer_signals

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}
SILENT: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""With this, Ray on Linux behaves as on Windows and macOS: every socket is on 127.0.0.1."""
PROCESS_BYTES = 150e6
"""Memory of a process that has imported what it acts with, before it does anything."""
FORGETFUL = {"RAY_task_events_report_interval_ms": "0"}
"""Ray would remember the last 100,000 calls of actors, 11 MB more for every 1,000 iterations."""
SERVICES = ("start_monitor", "start_log_monitor", "start_api_server")
"""Autoscaler, forwarding of logs, dashboard server: of no use to a Ray of our own, and three Python
processes, most of a second."""
TOKEN = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""Without a token of our own, Ray would leave one in the home folder for later clusters."""


def check_travels(source: EnvSource) -> None:
    """Refuse an environment that no other process can be given.

    Raises:
        InputError: names what of it cannot be pickled.
    """
    from ray import cloudpickle

    try:
        cloudpickle.dumps(source)  # pyright: ignore[reportPrivateImportUsage]
    except Exception as error:
        raise InputError(
            f"--env-id: {source.name} cannot be sent to a worker: {format_error(error)}; make it "
            "of picklable objects, or use --num-workers 0"
        ) from error


def cluster_address(config: Config) -> str | None:
    """Return the cluster to join, or None for a Ray of our own.

    Raises:
        InputError: it is a Ray Client address.
    """
    address = config.address or os.environ.get("RAY_ADDRESS") or None
    if address and address.startswith("ray://"):
        raise InputError(
            f"--address: {address} is Ray Client, which would send every rollout through this "
            "process; start the command on a machine of the cluster with --address auto"
        )
    return address


@contextmanager
def ray_session(config: Config, say: Callable[[str], None]) -> Generator[None]:
    """Have Ray running within the block, and as it was found afterwards.

    Raises:
        InputError: the cluster cannot be joined, or has less than the run asks for.
    """
    address = cluster_address(config)
    with environment(QUIET), signals_left_alone():
        import ray

        if ray.is_initialized():
            if config.address is not None:
                raise InputError(
                    f"--address: {config.address}, but this program has started Ray already; "
                    "leave it out to use that one"
                )
            _check_resources(config)
            with monitoring(ray.get_runtime_context().gcs_address):
                yield
            return
        from ray._private import worker

        session = own_ray(config, say) if address is None else joined_ray(address)
        # at length of each process that died, also where nothing is to be printed
        with changed(worker, print_to_stdstream=nothing), session:
            _check_resources(config)
            with monitoring(ray.get_runtime_context().gcs_address):
                yield


@contextmanager
def own_ray(config: Config, say: Callable[[str], None]) -> Generator[None]:
    """Start a Ray on loopback with as many logical CPUs as the run asks for."""
    import ray
    from ray._private import ray_constants
    from ray._private.node import Node

    wanted, cores = config.num_workers + 1, os.cpu_count() or 1
    needed, memory = wanted * PROCESS_BYTES / 1e9, psutil.virtual_memory().total / 1e9
    if needed > memory:
        raise InputError(
            f"--num-workers: {config.num_workers} workers and a learner need {needed:.0f} GB of "
            f"memory at least; this machine has {memory:.0f} GB"
        )
    if wanted > cores:
        say(f"{config.num_workers} workers and a learner share {cores} cores")
    # Ray has read the variable already if it was imported before
    loopback = changed(ray_constants, ENABLE_RAY_CLUSTER=False)
    with environment(LOOPBACK | TOKEN | FORGETFUL), loopback, ExitStack() as stack:
        try:
            # logical CPUs: a worker that is never scheduled would only be waited for
            with defer_signals(), changed(Node, **dict.fromkeys(SERVICES, nothing)):
                ray.init(address="local", num_cpus=wanted, include_dashboard=False, **SILENT)
                stack.callback(agents_guard().communicate)
            yield
        finally:
            ray.shutdown()


def agents_guard() -> "subprocess.Popen[bytes]":
    """Have Ray's agents end with this process: where it is killed, they would stay for a minute."""
    below = psutil.Process().children(recursive=True)
    agents = [str(process.pid) for process in below if process.name() in AGENTS]
    # a shell whose input ends when this process does
    script = 'cat > /dev/null; kill -9 "$@" 2> /dev/null'
    command = ["sh", "-c", script, "sh", *agents]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def nothing(*_: object, **__: object) -> None:
    """Stand in for what is not to happen."""


@contextmanager
def changed(owner: Any, **changes: object) -> Generator[None]:
    """Have attributes, those that are there, changed within the block."""
    before = {name: vars(owner)[name] for name in changes.keys() & vars(owner).keys()}
    for name in before:
        setattr(owner, name, changes[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


@contextmanager
def signals_left_alone() -> Generator[None]:
    """Have Ray install no handlers in this process: a signal is to end a run in good order."""
    from ray._private import ray_constants, utils

    handlers = changed(utils, set_sigterm_handler=nothing)
    with handlers, changed(ray_constants, RAY_DISABLE_FAILURE_SIGNAL_HANDLER=True):
        yield


@contextmanager
def joined_ray(address: str) -> Generator[None]:
    """Join a cluster.

    Raises:
        InputError: none answers.
    """
    import ray
    from ray._private.services import canonicalize_bootstrap_address_or_die
    from ray.exceptions import RayError

    try:
        if address == "auto":
            address = canonicalize_bootstrap_address_or_die(address)
        ping(address)
        ray.init(address=address, **SILENT)
    except (OSError, ValueError, RuntimeError, RayError) as error:
        raise InputError(
            f"--address: no Ray cluster answers at {address}; start one with `ray start --head`, "
            f"or leave --address and RAY_ADDRESS out to run on this machine alone ({error})"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def environment(changes: Mapping[str, str]) -> Generator[None]:
    """Have environment variables set within the block, those apart that the user has set."""
    ours = {name: value for name, value in changes.items() if name not in os.environ}
    os.environ.update(ours)
    before = set(os.environ)
    try:
        yield
    finally:
        # Ray adds some of its own
        added = {name for name in set(os.environ) - before if name.startswith("RAY_")}
        for name in added | ours.keys():
            os.environ.pop(name, None)


def _check_resources(config: Config) -> None:
    import ray

    wanted = config.num_workers + 1

    total = ray.cluster_resources()
    cpus = int(total.get("CPU", 0))
    if cpus < wanted:
        raise InputError(
            f"--num-workers: {config.num_workers} workers and a learner need {wanted} CPUs; the "
            f"cluster has {cpus}"
        )
    if config.device == "cuda" and total.get("GPU", 0) < 1:
        raise InputError("--device: cuda, but no node of the cluster has a GPU; take --device cpu")


def cpus_left(config: Config) -> int:
    """Say how many CPUs a process in another's place asks for.

    None, where the cluster has lost a machine and no CPU is left to give: then processes share.
    """
    import ray

    return int(ray.cluster_resources().get("CPU", 0) >= config.num_workers + 1)


def learner_gpus(config: Config) -> int:
    """Say how many GPUs the learner asks the cluster for."""
    import ray

    available = ray.cluster_resources().get("GPU", 0) >= 1
    return int(config.device == "cuda" or (config.device == "auto" and available))
