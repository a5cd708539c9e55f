"""Plant faults one by one: each must make one of its own tests fail.

    python -m tests.mutants            all of mutants.toml
    python -m tests.mutants ID ...     these
    python -m tests.mutants --sample   the list's sample

A fault is planted in a copy of the tree, and the tests run there, in a process of their own; the
tree itself is only read. A test that fails by an error of the language (a name that is not there)
catches nothing: the fault is no working program.
"""

import argparse
import ast
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import pytest

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests/mutants.toml"
COPIED = ("distpg", "tests", "pyproject.toml", "launch.py")
IMPORTED = ("torch", "ray", "gymnasium", "hypothesis", "pytest", "safetensors.numpy", "tyro")
"""What is imported once, before the processes are forked."""
BROKEN = frozenset(
    (
        *("AttributeError", "ImportError", "IndentationError", "ModuleNotFoundError"),
        *("NameError", "SyntaxError", "TypeError", "UnboundLocalError"),
    )
)
"""Errors that a program raises that does not work."""
NUM_PROCESSES = 2
TIMEOUT_S = 900.0
"""Of the tests of one fault, or of all tests without one."""


class ListError(Exception):
    """The list does not fit the tree."""


@dataclass(frozen=True)
class Mutant:
    """A fault: a text of a file, what it is replaced by, and the tests that must catch it."""

    id: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def planted(self, source: str) -> str:
        """Return a file's source with the fault.

        Raises:
            ListError: its place is not there exactly once, or the result is no Python.
        """
        count = source.count(self.old)
        if count != 1:
            raise ListError(f"{self.id}: its place occurs {count} times in {self.file}, not once")
        faulty = source.replace(self.old, self.new)
        try:
            ast.parse(faulty)
        except SyntaxError as error:
            raise ListError(
                f"{self.id}: with the fault, {self.file} is no Python: {error}"
            ) from error
        return faulty


@dataclass(frozen=True)
class Outcome:
    """What the tests made of a fault."""

    verdict: Literal["caught", "survived", "invalid"]
    by: str
    """The test that failed, or why the fault is invalid."""
    seconds: float


@dataclass
class Failures:
    """A plugin of pytest that keeps what fails."""

    found: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Test, phase and kind of error of each."""

    def pytest_exception_interact(self, call: Any, report: Any) -> None:
        """Keep a failure."""
        phase = getattr(report, "when", "collect")
        self.found.append((report.nodeid, phase, call.excinfo.typename))


def read_list(path: Path = LIST) -> tuple[dict[str, Mutant], list[str]]:
    """Read the faults by id, and the ids of the sample.

    Raises:
        ListError: an id occurs twice, or is not there.
    """
    content = tomllib.loads(path.read_text("utf-8"))
    mutants: dict[str, Mutant] = {}
    for entry in content["mutant"]:
        name, file, old, new = (entry[field] for field in ("id", "file", "old", "new"))
        mutant = Mutant(name, file, old, new, tuple(entry["tests"]))
        if mutant.id in mutants:
            raise ListError(f"two faults are called {mutant.id}")
        mutants[mutant.id] = mutant
    return mutants, content["sample"]


def run_tests(folder: str, tests: Sequence[str], answer: Connection) -> None:
    """Run tests in a copy of the tree, up to the first failure; send pytest's code and failures."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("distpg", "tests")]:
        del sys.modules[name]
    os.chdir(folder)
    os.environ["PYTHONPATH"] = folder
    sys.path.insert(0, folder)
    with Path("output.txt").open("w") as output:
        for number in (1, 2):
            os.dup2(output.fileno(), number)
        failures = Failures()
        options = ["-x", "--timeout=60", "-p", "no:cacheprovider", f"--rootdir={folder}"]
        code = int(pytest.main([*options, *tests], plugins=[failures]))
        import distpg

        assert str(distpg.__file__).startswith(folder), f"{distpg.__file__} is not the copy"
        answer.send((code, failures.found))


def try_out(mutant: Mutant | None, tests: Sequence[str]) -> Outcome:
    """Run tests in a copy of the tree with a fault, or without one."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name).resolve()
        for part in COPIED:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, folder / part)
        if mutant:
            path = folder / mutant.file
            path.write_text(mutant.planted(path.read_text("utf-8")), "utf-8")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*IMPORTED])
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=run_tests, args=(str(folder), tests, theirs))
        process.start()
        theirs.close()
        answer = None
        try:
            if ours.poll(TIMEOUT_S):
                answer = ours.recv()
        except EOFError:
            pass
        finally:
            process.kill()
            process.join()
        output = folder / "output.txt"
        tail = output.read_text("utf-8")[-3000:] if output.exists() else ""
    return Outcome(*judge(answer, tail), time.monotonic() - began)


def judge(
    answer: tuple[int, list[tuple[str, str, str]]] | None, output: str
) -> tuple[Literal["caught", "survived", "invalid"], str]:
    """Return a verdict and its reason, from pytest's code and failures, None if it had no end."""
    if answer is None:
        return "invalid", f"its tests did not end\n{output}"
    code, failures = answer
    if code == 0:
        return "survived", "none of its tests failed"
    if code != pytest.ExitCode.TESTS_FAILED or not failures:
        return "invalid", f"pytest ended with code {code}\n{output}"
    test, phase, error = failures[0]
    if phase != "call" or error in BROKEN:
        return "invalid", f"{test} failed in {phase} with {error}\n{output}"
    return "caught", test


def outcomes(mutants: Sequence[Mutant]) -> Iterator[tuple[str, Outcome]]:
    """Yield the outcome of the tests without a fault, then that of each fault."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    jobs = [(None, tests), *((mutant, mutant.tests) for mutant in mutants)]
    with ThreadPoolExecutor(NUM_PROCESSES) as pool:
        pending = [pool.submit(try_out, *job) for job in jobs]
        try:
            for (mutant, _), outcome in zip(jobs, pending, strict=True):
                yield mutant.id if mutant else "no fault", outcome.result()
        finally:
            for outcome in pending:
                outcome.cancel()


def main(words: Sequence[str] | None = None) -> int:
    """Print a table of faults; return 0 if each was caught, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--sample", action="store_true")
    options = parser.parse_args(words)
    began = time.monotonic()
    try:
        known, sample = read_list()
        chosen = sample if options.sample else options.ids or [*known]
        for name in chosen:
            if name not in known:
                raise ListError(f"no fault is called {name}")
        mutants = [known[name] for name in chosen]
        for mutant in mutants:
            mutant.planted((ROOT / mutant.file).read_text("utf-8"))
    except ListError as error:
        print(error)
        return 1
    print(f"{'fault':44} {'seconds':>7}  caught by")
    wrong: list[str] = []
    for name, outcome in outcomes(mutants):
        right = "survived" if name == "no fault" else "caught"
        says = (
            outcome.by if outcome.verdict == right else f"{outcome.verdict.upper()}: {outcome.by}"
        )
        print(f"{name:44} {outcome.seconds:7.1f}  {says}", flush=True)
        if outcome.verdict != right:
            wrong.append(name)
    caught = len(mutants) - len([name for name in wrong if name != "no fault"])
    print(f"{caught} of {len(mutants)} faults caught in {time.monotonic() - began:.0f} s")
    if wrong:
        print(f"not as it must be: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
