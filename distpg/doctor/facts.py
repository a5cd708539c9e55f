"""Hardware and software of a machine, as plain values.

This module is sent to the nodes of a cluster, where distpg may be missing, so it imports only the
standard library, and torch if it is installed.
"""

import importlib
import math
import os
import platform
import resource
import shutil
import socket
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("ray", "torch", "numpy", "gymnasium", "distpg")
MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
CPU_QUOTAS = (
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
"""Files with a container's CPU time and the period it is granted for, of cgroup v2 and v1."""


def gather() -> dict[str, Any]:
    """Return the facts about this machine; the keys are the fields of `machine.Node`."""
    temp = tempfile.gettempdir()
    return {
        "host": socket.gethostname(),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
        "cores": cores(),
        "memory": memory(),
        "shared_memory": free_bytes(Path("/dev/shm")),
        "temp": temp,
        "temp_free": free_bytes(Path(temp)),
        "temp_writable": os.access(temp, os.W_OK),
        "open_files": open_files(),
        "gpus": len(list(Path("/proc/driver/nvidia/gpus").glob("*"))),
        **torch_gpus(),
    }


def version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def cpu() -> str:
    """Name the type of CPU, which the last bits of a result depend on."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def cores() -> int:
    """Count the CPUs that this process may use: its affinity, within the container's quota."""
    # macOS has no affinity
    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity else os.cpu_count()
    return math.ceil(min(usable or 1, cpu_quota()))


def cpu_quota() -> float:
    """Return the CPUs that the container may use on average, or inf if it is not limited."""
    for paths in CPU_QUOTAS:
        # ValueError: the quota is "max"
        with suppress(OSError, ValueError):
            quota, period = map(int, " ".join(Path(path).read_text() for path in paths).split())
            # -1 is no limit
            if quota > 0:
                return quota / period
    return math.inf


def memory() -> int:
    """Return the bytes of memory: the container's limit, if it has one."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in MEMORY_LIMITS:
        with suppress(OSError, ValueError):
            total = min(total, int(Path(path).read_text()))
    return total


def open_files() -> int:
    """Return the soft limit of open files, or -1 if there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # a large number on macOS
    return -1 if soft == resource.RLIM_INFINITY else soft


def free_bytes(folder: Path) -> int | None:
    """Return the free bytes of a folder's file system, or None if there is no such folder."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return None


def torch_gpus() -> dict[str, Any]:
    """Return the number of GPUs that torch sees, or the error if it cannot be imported."""
    # Ray hides GPUs from a task that requests none
    if not os.environ.get("CUDA_VISIBLE_DEVICES", "all"):
        del os.environ["CUDA_VISIBLE_DEVICES"]
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return {"torch_gpus": 0, "torch_error": str(error)}
    return {"torch_gpus": torch.cuda.device_count(), "torch_error": ""}
