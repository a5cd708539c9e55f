"""The command line: finds the sub-command and turns errors into one message and an exit code."""

import importlib
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import psutil

from distpg.config.values import did_you_mean
from distpg.errors import InputError, RunError

COMMANDS = {
    "train": "train a policy",
    "imitate": "clone an expert, or learn from it by DAgger",
    "resume": "go on with a run",
    "evaluate": "play whole episodes with a trained policy",
    "verify": "prove every estimator on a game that is known exactly",
    "bench": "measure env, policy and learner, and say what limits them",
    "doctor": "check a machine or a cluster, and an environment, before a long run",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Returns:
        0 when it did what it is for, 1 when a run could not go on, 2 for input that cannot be used,
        128 + the signal's number after a signal.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # modules of the user's own folder can be named in --env-id
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    program = "launch.py" if sys.argv[0].endswith("launch.py") else "distpg"
    try:
        if not words or words[0] in ("-h", "--help"):
            print(usage(program))
            return 0 if words else 2
        if words[0] == "--version":
            print(f"distpg {metadata.version('distpg')}")
            return 0
        if words[0] not in COMMANDS:
            hint = did_you_mean(words[0], COMMANDS)
            raise InputError(f"{words[0]!r} is no command; choose {', '.join(COMMANDS)}{hint}")
        command = importlib.import_module(f"distpg.commands.{words[0]}")
        return command.main(words[1:], f"{program} {words[0]}", process_start())
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130


def process_start() -> float:
    """Return the Unix time at which this process began."""
    started = psutil.Process().create_time()
    if hasattr(time, "CLOCK_BOOTTIME"):
        # on Linux it counts from a boot time in whole seconds
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        started += booted - psutil.boot_time()
    return started


def usage(program: str) -> str:
    """List the sub-commands."""
    lines = [f"  {name:10} {purpose}" for name, purpose in COMMANDS.items()]
    head = f"usage: {program} COMMAND ...\n\nDistributed on-policy policy gradients.\n"
    return "\n".join([head, *lines, "", f"{program} COMMAND --help lists a command's flags."])
