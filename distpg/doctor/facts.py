"""Hardware and software of a machine, as plain values.

This module is sent to the nodes of a cluster, where distpg may be missing, so it imports only the
standard library, and torch if it is installed.
"""

import importlib
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
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "gpus": len(list(Path("/proc/driver/nvidia/gpus").glob("*"))),
        **torch_gpus(),
    }


def version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def cores() -> int:
    """Count the cores that this process may use."""
    # macOS does not say
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Return the bytes of memory: the container's limit, if it has one."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in MEMORY_LIMITS:
        with suppress(OSError, ValueError):
            total = min(total, int(Path(path).read_text()))
    return total


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
