"""Compiled packages in the user's cache folder, under a key of everything they depend on.

A package is native code. It is loaded only if its folder belongs to the user and nobody else can
write to it, and if its digest is that of its content.
"""

import hashlib
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path

from distpg.errors import InputError, format_error
from distpg.iteration import COMPILING

SOURCES = ("gradient", "learner", "policy", "spaces.py")
"""Parts of the package that compiled functions are made from."""
CPU_INFO = Path("/proc/cpuinfo")
NOT_KEPT = "the compiled update is not kept, and compiled again at each start"
ANSWER_S = 60.0
"""Deadline of asking a compiler for its version."""
WRITABLE = stat.S_IWGRP | stat.S_IWOTH
"""Permissions of others to write."""
DIGEST_BYTES = hashlib.sha256().digest_size


def compiler() -> str | None:
    """Return the path of the C++ compiler that torch would use, or None if there is none."""
    default = "clang++" if sys.platform == "darwin" else "g++"
    return shutil.which(os.environ.get("CXX", default))


def key(structure: Mapping[str, Any]) -> str:
    """Return the key of a package: `structure`, the sources, torch, the compiler and the CPU."""
    digest = hashlib.sha256()
    for part in (structure, versions(), cpu_features()):
        digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    package = Path(__file__).parents[1]
    for name in SOURCES:
        root = package / name
        for file in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def versions() -> list[str]:
    """Return the versions of torch and of the compiler, and the flags given to it."""
    path = compiler()
    found = "" if path is None else answer([path, "--version"])
    flags = (os.environ.get(name, "") for name in ("CXX", "CPPFLAGS", "CXXFLAGS", "LDFLAGS"))
    return [torch.__version__, str(torch.version.git_version), found, *flags]


def answer(words: Sequence[str]) -> str:
    """Return what a program prints.

    Raises:
        InputError: it cannot be started, or does not end.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=ANSWER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(
            f"--compile: {' '.join(words)} does not work: {format_error(error)}; set CXX to "
            "another C++ compiler, or use --compile off"
        ) from error
    return done.stdout


def cpu_features() -> list[str]:
    """Return what code compiled for this CPU may use: other CPUs end it by SIGILL."""
    if CPU_INFO.exists():
        names = ("vendor_id", "model name", "flags", "Features")
        lines = CPU_INFO.read_text().split("\n\n")[0].splitlines()
        return [line for line in lines if line.partition(":")[0].strip() in names]
    return [platform.machine(), platform.processor(), torch.backends.cpu.get_cpu_capability()]


def folder() -> Path:
    """Return the folder of all packages, made if it is missing.

    Raises:
        OSError: it cannot be made, belongs to another user, or others can write to it.
    """
    path = user_cache_path("distpg") / "compiled"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & WRITABLE):
        raise PermissionError(f"{path} belongs to another user, or others can write to it")
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} cannot be written")
    return path


def fetch(name: str, build: Callable[[], bytes], say: Callable[[str], None]) -> bytes:
    """Return the package of a key, built and kept if there is none.

    Args:
        name: The key.
        build: Compiles the package.
        say: Called with what the user should know.

    Raises:
        InputError: it has to be built, and there is no compiler, or it fails.
    """
    try:
        path = folder() / f"{name}.package"
    except OSError as error:
        say(f"{NOT_KEPT}: {error}")
        return _build(build)
    package = read(path)
    if package is None:
        damaged = path.exists()
        say(f"{path} is damaged; compiling the update again" if damaged else COMPILING)
        package = _build(build)
        try:
            write(path, package)
        except OSError as error:
            say(f"{NOT_KEPT}: {error}")
    return package


def _build(build: Callable[[], bytes]) -> bytes:
    if compiler() is None:
        raise InputError(
            "--compile: on needs a C++ compiler on the learner's machine, which has none and no "
            "compiled update of before; install g++ (on macOS clang), or use --compile off, with "
            "which results differ in the last bits"
        )
    try:
        return build()
    # torch and the compiler may raise anything
    except Exception as error:
        raise InputError(
            f"--compile: the update cannot be compiled on the learner's machine: "
            f"{format_error(error)}; use --compile off"
        ) from error


def read(path: Path) -> bytes | None:
    """Return a package, or None if there is none, or one that is damaged or of another user."""
    try:
        content = path.read_bytes()
        owner = path.stat().st_uid
    except OSError:
        return None
    digest, package = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    intact = hashlib.sha256(package).digest() == digest
    own = not hasattr(os, "getuid") or owner == os.getuid()
    return package if intact and own else None


def write(path: Path, package: bytes) -> None:
    """Write a package and its digest, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as folder:
        temporary = Path(folder) / path.name
        temporary.touch(mode=0o600)
        temporary.write_bytes(hashlib.sha256(package).digest() + package)
        temporary.replace(path)
