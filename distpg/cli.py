"""The command line: dispatch to sub-commands, and turn errors into a message and an exit code."""

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
        Exit code: 0 on success, 1 if a run could not continue or a check failed, 2 for invalid
        input, 128 + the signal number after a signal.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # so that --env-id, --encoder and --expert can name modules in the current folder
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
            raise InputError(
                f"unknown command {words[0]!r}; choose from {', '.join(COMMANDS)}{hint}"
            )
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
    """Return the Unix time at which this process started."""
    started = psutil.Process().create_time()
    if hasattr(time, "CLOCK_BOOTTIME"):
        # on Linux, create_time() is based on a boot time rounded to seconds
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        started += booted - psutil.boot_time()
    return started


def usage(program: str) -> str:
    """Return the help text that lists the sub-commands."""
    lines = [f"  {name:10} {purpose}" for name, purpose in COMMANDS.items()]
    head = f"usage: {program} COMMAND ...\n\nDistributed on-policy policy gradients.\n"
    return "\n".join([head, *lines, "", f"{program} COMMAND --help lists a command's flags."])
