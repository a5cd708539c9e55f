"""The Ray that a run uses: the caller's, a cluster that it joins, or one of its own on loopback."""

import logging
import os
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from distpg.config import Config
from distpg.errors import InputError

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""At 0, Ray on Linux behaves as on Windows and macOS: every socket is on 127.0.0.1."""


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
    wanted = config.num_workers + 1
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    if address is None and "ray" not in sys.modules:
        os.environ.setdefault(LOOPBACK, "0")
    import ray

    if ray.is_initialized():
        _check_resources(config, wanted)
        yield
        return
    options: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    if address is None:
        cores = os.cpu_count() or 1
        if wanted > cores:
            say(f"{config.num_workers} workers and a learner share {cores} cores")
        # logical CPUs: a worker that is never scheduled would only be waited for
        ray.init(address="local", num_cpus=wanted, include_dashboard=False, **options)
    else:
        try:
            if address != "auto":
                knock(address)
            ray.init(address=address, **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--address: no Ray cluster answers at {address}; start one with "
                "`ray start --head`, or leave --address out to run on this machine alone"
            ) from error
    try:
        _check_resources(config, wanted)
        yield
    finally:
        ray.shutdown()


def knock(address: str) -> None:
    """See within seconds that something listens at host:port: Ray itself would try for minutes.

    Raises:
        OSError: nothing does.
        ValueError: it is no host:port.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=5).close()


def _check_resources(config: Config, wanted: int) -> None:
    import ray

    total = ray.cluster_resources()
    cpus = int(total.get("CPU", 0))
    if cpus < wanted:
        raise InputError(
            f"--num-workers: {config.num_workers} workers and a learner need {wanted} CPUs; the "
            f"cluster has {cpus}"
        )
    if config.device == "cuda" and total.get("GPU", 0) < 1:
        raise InputError("--device: cuda, but no node of the cluster has a GPU; take --device cpu")


def learner_gpus(config: Config) -> int:
    """Say how many GPUs the learner asks the cluster for."""
    import ray

    available = ray.cluster_resources().get("GPU", 0) >= 1
    return int(config.device == "cuda" or (config.device == "auto" and available))
