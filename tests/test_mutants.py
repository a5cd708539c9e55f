"""The list of faults fits the tree, and only a test that fails has caught one."""

import ast
import hashlib
from functools import cache
from pathlib import Path

import pytest

from tests.mutants import ROOT, ListError, Mutant, judge, main, read_list, try_out

MUTANTS, SAMPLE = read_list()
PLACE = Mutant("place", "a.py", "x + y", "x - y", ())


def test_each_fault_has_its_place_and_its_tests() -> None:
    assert len(MUTANTS) >= 60
    assert len(set(SAMPLE) & MUTANTS.keys()) == len(SAMPLE) == 6
    for mutant in MUTANTS.values():
        mutant.planted((ROOT / mutant.file).read_text("utf-8"))
        assert mutant.tests
        for test in mutant.tests:
            file, _, function = test.partition("::")
            assert not function or function in functions_of(file), test


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {x.name for x in ast.walk(tree) if isinstance(x, ast.FunctionDef)}


@pytest.mark.parametrize("source", ["x - y", "x + y + x + y"])
def test_a_place_that_is_not_there_once_is_refused(source: str) -> None:
    with pytest.raises(ListError, match=r"place: its place occurs [02] times in a.py, not once"):
        PLACE.planted(source)


def test_a_fault_that_is_no_python_is_refused() -> None:
    with pytest.raises(ListError, match=r"no Python"):
        Mutant("place", "a.py", "x + y", "x +", ()).planted("x + y")


def test_an_id_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-fault"]) == 1
    assert capsys.readouterr().out == "no fault is called no-such-fault\n"


def test_only_a_test_that_fails_of_itself_has_caught_a_fault() -> None:
    def verdict(code: int, *failure: str) -> str:
        return judge((code, [(failure[0], failure[1], failure[2])] if failure else []), "")[0]

    assert verdict(0) == "survived"
    assert verdict(1, "test_a", "call", "AssertionError") == "caught"
    assert verdict(1, "test_a", "call", "RunError") == "caught"
    assert verdict(1, "test_a", "call", "NameError") == "invalid"
    assert verdict(1, "test_a", "setup", "AssertionError") == "invalid"
    # a file that cannot be imported; no test of that name
    assert verdict(2, "test_a.py", "collect", "AssertionError") == "invalid"
    assert verdict(4) == verdict(5) == "invalid"
    assert judge(None, "")[0] == "invalid"


def contents(folder: Path) -> str:
    """Return a digest of all source files."""
    files = sorted(folder.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@pytest.mark.thorough
def test_faults_are_planted_in_a_copy_and_found_there() -> None:
    before = contents(ROOT / "distpg")
    beta = MUTANTS["adam-beta2"]
    assert try_out(beta, beta.tests).verdict == "caught"
    assert try_out(beta, ["tests/test_numbers.py"]).verdict == "survived"
    assert try_out(beta, ["tests/no_such_test.py"]).verdict == "invalid"
    assert try_out(None, beta.tests).verdict == "survived"
    assert contents(ROOT / "distpg") == before
