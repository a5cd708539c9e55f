"""Connect a run to Ray: the caller's, a cluster that it joins, or a local instance on loopback."""

import logging
import os
import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from distpg.actors.disconnecting import disconnect
from distpg.actors.head import monitoring
from distpg.actors.joining import check_joinable, find_cluster
from distpg.actors.ray_internals import check_loopback, on_loopback, patched_ray
from distpg.config.config import Config
from distpg.doctor import facts
from distpg.envs.make import EnvSource
from distpg.errors import InputError, RunError, format_error
from distpg.signals import defer_signals

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}
SILENT: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Makes Ray on Linux behave as on Windows and macOS: every socket is on 127.0.0.1."""
PRIORITY = {"RAY_worker_niceness": "0"}
"""By default Ray runs actors at nice 15: beside other work they would hardly run."""
NO_TASK_EVENTS = {"RAY_task_events_report_interval_ms": "0"}
"""By default Ray keeps the last 100,000 actor calls, 11 MB more per 1,000 iterations."""
TOKEN = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""Without a token Ray would write one to the home folder, for later clusters."""
SPARE_CPUS = 1
"""For an evaluation that a watcher asks for."""
PROCESS_BYTES = 150e6
"""Memory of a process that has imported what it needs to act, before it does anything."""


def check_travels(source: EnvSource, config: Config) -> None:
    """Check that environment and encoder can be sent to other processes.

    Raises:
        InputError: one cannot be pickled; the message names it and the part.
    """
    from ray import cloudpickle

    sent = {f"--env-wrapper: {wrapper}": wrapper for wrapper in config.env_wrapper}
    sent |= {f"--encoder: {config.encoder}": config.encoder, f"--env-id: {source.name}": source}
    for name, value in sent.items():
        try:
            cloudpickle.dumps(value)  # pyright: ignore[reportPrivateImportUsage]
        except Exception as error:
            raise InputError(
                f"{name} cannot be sent to a worker: {format_error(error)}; make it from "
                "picklable parts, or use --num-workers 0"
            ) from error


def cluster_address(config: Config) -> str | None:
    """Return the address of the cluster to join, or None for a local Ray instance.

    Raises:
        InputError: it is a Ray Client address.
    """
    address = config.address or os.environ.get("RAY_ADDRESS") or None
    if address and address.startswith("ray://"):
        raise InputError(
            f"--address: {address} is Ray Client, which would send every rollout through this "
            "process; start the command on a node of the cluster with --address auto"
        )
    return address


def spans_machines(config: Config) -> bool:
    """Return whether the run joins a cluster that may have other machines.

    One that is restricted to loopback is a local instance that several runs share.
    """
    is_local = all(os.environ.get(name) == value for name, value in LOOPBACK.items())
    return cluster_address(config) is not None and not is_local


@contextmanager
def ray_session(config: Config, say: Callable[[str], None]) -> Generator[None]:
    """Context manager: a connection to Ray; afterwards Ray is as it was before.

    Raises:
        InputError: the cluster cannot be joined or lacks resources, or the installed Ray version
            cannot be restricted to loopback.
    """
    address = cluster_address(config)
    with environment(QUIET), ExitStack() as stack:
        import ray

        if not ray.is_initialized():
            session = local_ray(config, say) if address is None else joined_ray(address, say)
            stack.enter_context(session)
        elif config.address is not None:
            raise InputError(
                f"--address: {config.address}, but this program has already started Ray; omit "
                "--address to use that instance"
            )
        check_gpu(config)
        stack.enter_context(monitoring(ray.get_runtime_context().gcs_address))
        yield


@contextmanager
def local_ray(config: Config, say: Callable[[str], None], num_runs: int = 1) -> Generator[None]:
    """Context manager: a Ray instance on loopback, with a logical CPU per process of the runs.

    Args:
        config: The settings of a run.
        say: Called with what is worth knowing.
        num_runs: How many such runs there are at a time.

    Raises:
        InputError: this machine has too little memory, or the installed Ray version cannot be
            restricted to loopback.
        RunError: Ray's processes did not start.
    """
    import ray

    labels = {"--learner-label": config.learner_label, "--worker-label": config.worker_label}
    for name, label in labels.items():
        if label is not None:
            raise InputError(
                f"{name}: {label} needs a cluster, whose nodes have labels; add --address"
            )
    wanted, cores = num_runs * config.num_processes, facts.cores()
    processes = f"{num_runs} runs of " * (num_runs > 1) + processes_of(config)
    needed, memory = wanted * PROCESS_BYTES / 1e9, facts.memory() / 1e9
    if needed > memory:
        raise InputError(
            f"--num-workers: {processes} need at least "
            f"{needed:.0f} GB of memory; this machine has {memory:.0f} GB"
        )
    if wanted > cores:
        say(f"{processes} share {cores} cores")
    variables = environment(LOOPBACK | TOKEN | PRIORITY | NO_TASK_EVENTS)
    with variables, on_loopback(), patched_ray(say):
        try:
            # an interrupted start would leave processes behind
            with defer_signals():
                start_ray(wanted + num_runs * SPARE_CPUS)
            check_loopback(ray.get_runtime_context().gcs_address)
            yield
        finally:
            ray.shutdown()


def start_ray(num_cpus: int) -> None:
    """Start a local Ray instance with that many logical CPUs, however many cores there are.

    Raises:
        RunError: its processes did not start.
    """
    import ray

    try:
        ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, **SILENT)
    except Exception as error:
        # Ray raises a plain Exception at its timeout
        raise RunError(
            f"the local Ray instance did not start: {format_error(error)}; run the doctor "
            "command to check this machine"
        ) from error


@contextmanager
def joined_ray(address: str, say: Callable[[str], None]) -> Generator[None]:
    """Context manager: a connection to a cluster.

    Raises:
        InputError: there is none, or this process cannot join it.
    """
    import ray
    from ray.exceptions import RayError

    with patched_ray(say):
        try:
            if address == "auto":
                address = find_cluster()
            check_joinable(address)
            ray.init(address=address, **SILENT)
        except InputError:
            raise
        except (OSError, ValueError, RuntimeError, RayError) as error:
            raise InputError(
                f"--address: the cluster at {address} cannot be joined: {format_error(error)}"
            ) from error
        try:
            yield
        finally:
            disconnect(address)


@contextmanager
def environment(changes: Mapping[str, str]) -> Generator[None]:
    """Context manager: set environment variables, except those that the user has set."""
    ours = {name: value for name, value in changes.items() if name not in os.environ}
    os.environ.update(ours)
    before = set(os.environ)
    try:
        yield
    finally:
        # Ray sets some, too
        added = {name for name in set(os.environ) - before if name.startswith("RAY_")}
        for name in added | ours.keys():
            os.environ.pop(name, None)


def check_gpu(config: Config) -> None:
    """Check that the cluster has the GPU that the run asks for, unless a node may bring it.

    Raises:
        InputError: it has none.
    """
    import ray

    may_join = config.address is not None and config.wait_for_resources > 0
    if config.device == "cuda" and not may_join and ray.cluster_resources().get("GPU", 0) < 1:
        raise InputError("--device: cuda, but no node has a GPU; use --device cpu")


def processes_of(config: Config) -> str:
    """Name the processes that a run has on Ray."""
    others = ["a learner"]
    others += ["an evaluation worker"] * (config.eval_every > 0)
    others += ["one for clips"] * (config.video_every > 0)
    *first, last = [f"{config.num_workers} workers", *others]
    return f"{', '.join(first)} and {last}"
