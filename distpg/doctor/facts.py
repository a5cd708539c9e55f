"""What a machine has and has installed, as plain values.

This file is carried to the nodes of a cluster, where distpg may be missing, so it imports the
standard library alone, and torch where it is.
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
    """Look at this machine; the keys are the fields of `machine.Node`."""
    temp = tempfile.gettempdir()
    return {
        "host": socket.gethostname(),
        "versions": {"python": platform.python_version()} | {x: version(x) for x in PACKAGES},
        "cores": cores(),
        "memory": memory(),
        "shared_memory": free(Path("/dev/shm")),
        "temp": temp,
        "temp_free": free(Path(temp)),
        "temp_writable": os.access(temp, os.W_OK),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "gpus": len(list(Path("/proc/driver/nvidia/gpus").glob("*"))),
        **torch_gpus(),
    }


def version(package: str) -> str | None:
    """Return the version of an installed package."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def cores() -> int:
    """Count the cores that this process may use."""
    # macOS does not say
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Return bytes of memory: the container's, if it is limited."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in MEMORY_LIMITS:
        with suppress(OSError, ValueError):
            total = min(total, int(Path(path).read_text()))
    return total


def free(folder: Path) -> int | None:
    """Return bytes free where a folder is, or None where there is no such folder."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free
    return None


def torch_gpus() -> dict[str, Any]:
    """Count the GPUs that torch sees, or say why it cannot be imported."""
    # Ray hides GPUs from a task that asks for none
    if not os.environ.get("CUDA_VISIBLE_DEVICES", "all"):
        del os.environ["CUDA_VISIBLE_DEVICES"]
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return {"torch_gpus": 0, "torch_error": str(error)}
    return {"torch_gpus": torch.cuda.device_count(), "torch_error": ""}
