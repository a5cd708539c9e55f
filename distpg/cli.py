"""The command line: finds the sub-command and turns errors into one message and an exit code."""

import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import psutil
import tyro

from distpg.config.flags import COMPLETION, call_tyro, read_flags
from distpg.config.values import did_you_mean, one_of
from distpg.errors import InputError, RunError
from distpg.signals import SignalInterrupt

COMMANDS = {
    "train": "train a policy",
    "resume": "continue a run from its newest checkpoint",
    "evaluate": "run episodes with a trained policy",
    "runs": "list runs: state, steps, return, best evaluation",
    "compare": "two runs side by side: what differs, what they reached",
    "plot": "draw learning curves, with intervals over seeds",
    "export": "write a policy as an ONNX file",
    "push": "publish a policy on the Hugging Face Hub",
    "recipes": "list the recipes of --config, with task and measured result",
    "config": "print all settings as a file for --config",
    "doctor": "check a machine or a cluster, and an environment, before a long run",
    "bench": "measure env, policy and learner, and report what limits a run",
    "imitate": "imitate an expert, by behavioural cloning or DAgger",
    "reproduce": "train a published table, and compare with what others report",
    "tune": "search settings with Optuna, by trials of several seeds",
    "verify": "verify every estimator against its exact expectation",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Returns:
        0 for success, 1 if a run cannot continue or a check fails, 2 for bad input, 128 + the
        signal's number after a signal.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # --env-id and --encoder can name modules in the current directory
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
        if words[0] == COMPLETION:
            print_completion(words, program)
        if words[0] not in COMMANDS:
            hint = did_you_mean(words[0], COMMANDS)
            raise InputError(f"{words[0]!r}: unknown command; choose from {one_of(COMMANDS)}{hint}")
        command = load_command(words[0])
        flags = read_flags(flags_of(command), words[1:], f"{program} {words[0]}")
        return command.main(flags, process_start())
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # the reader, such as head, has closed the pipe; Python would complain again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as error:
        print(f"{program}: interrupted", file=sys.stderr)
        return 128 + (error.number if isinstance(error, SignalInterrupt) else signal.SIGINT)


def load_command(name: str) -> ModuleType:
    """Import a sub-command, which defines `main(flags, started)`."""
    return importlib.import_module(f"distpg.commands.{name}")


def flags_of(command: ModuleType) -> type[Any]:
    """Return the dataclass of a sub-command's flags."""
    return get_type_hints(command.main)["flags"]


def print_completion(words: Sequence[str], program: str) -> None:
    """Print a shell's completion script for all sub-commands, and exit."""
    flags = {name: flags_of(load_command(name))() for name in COMMANDS}
    commands = tyro.extras.subcommand_type_from_defaults(flags, COMMANDS, prefix_names=False)
    call_tyro(commands, words, program)


def process_start() -> float:
    """Return the Unix time at which this process began."""
    started = psutil.Process().create_time()
    if sys.platform == "linux":
        # it counts from a boot time in whole seconds
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        started += booted - psutil.boot_time()
    return started


def usage(program: str) -> str:
    """List the sub-commands."""
    lines = [f"  {name:10} {purpose}" for name, purpose in COMMANDS.items()]
    head = f"usage: {program} COMMAND ...\n\nDistributed on-policy policy gradients.\n"
    return "\n".join([head, *lines, "", f"{program} COMMAND --help lists a command's flags."])
