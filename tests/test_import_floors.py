"""Imports point downward only, and the heavy packages come in by one door each."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS: dict[int, tuple[str, ...]] = {
    0: ("errors", "extras", "signals", "user_code", "config"),
    1: ("seeding", "spaces", "records", "progress", "iteration"),
    2: ("train", "gradient"),
    3: ("policy", "envs"),
    4: ("rollout", "learner", "doctor", "report", "onnx"),
    5: ("actors", "proof", "bench"),
    6: ("run",),
    7: ("imitation", "many_runs", "reproduce", "tuning", "results", "hub"),
    8: ("commands",),
    9: ("cli", "", "__main__"),
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
DOORS = {
    "ray": ("distpg/actors/",),
    "gymnasium": ("distpg/envs/",),
    "ale_py": ("distpg/envs/",),
    "mujoco": ("distpg/envs/",),
    "envpool": ("distpg/envs/envpool.py",),
    "tensorboard": (
        "distpg/report/tensorboard.py",
        "distpg/report/summaries.py",
        "distpg/results/sb3.py",
    ),
    "minari": ("distpg/imitation/dataset.py",),
    "rliable": ("distpg/results/statistics.py",),
    "matplotlib": ("distpg/results/figure.py",),
    "huggingface_hub": ("distpg/hub/",),
    "onnx": ("distpg/onnx/",),
    "onnxruntime": ("distpg/onnx/",),
    "onnxscript": ("distpg/onnx/",),
    "optuna": ("distpg/tuning/study.py",),
    "imageio_ffmpeg": ("distpg/report/video.py",),
    "PIL": ("distpg/report/video.py",),
}


LATER = ("import_module", "import_extra")
"""Ends of what is called with the name of a module to import."""


def sources() -> list[Path]:
    return sorted((ROOT / "distpg").rglob("*.py"))


@cache
def imported(file: Path) -> tuple[tuple[str, int], ...]:
    """Every name that a file imports, also within functions and for annotations, with its line."""
    return tuple(imports_in(ast.parse(file.read_text("utf-8")), file))


def imports_in(tree: ast.AST, file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} is a relative import"
            assert node.module is not None
            yield node.module, node.lineno
            # a module, or something in it
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(LATER):
            (name, *_) = node.args
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value, node.lineno


def room_of(module: str) -> str:
    """From a.b.c to the folder or file right under the package."""
    return [*module.split("."), ""][1]


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def test_every_room_has_a_floor() -> None:
    assert {room_of(module_of(file)) for file in sources()} <= FLOOR_OF.keys()


@pytest.mark.parametrize("file", sources(), ids=module_of)
def test_imports_point_downward_only(file: Path) -> None:
    own = room_of(module_of(file))
    for module, line in imported(file):
        if module.split(".")[0] != "distpg":
            continue
        other = room_of(module)
        upward = FLOOR_OF[other] > FLOOR_OF[own]
        assert not upward, f"{file}:{line}: {own} (floor {FLOOR_OF[own]}) imports {module}"


def import_graph() -> dict[str, set[str]]:
    """Return of each module, those that only gather others left out, which it imports."""
    modules = {module_of(file): file for file in sources() if file.name != "__init__.py"}
    return {
        module: {name for name, _ in imported(file)} & modules.keys()
        for module, file in modules.items()
    }


def graph_of_rooms(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    rooms: dict[str, set[str]] = {room_of(module): set() for module in imports}
    for module, others in imports.items():
        rooms[room_of(module)] |= {room_of(other) for other in others} - {room_of(module)}
    return rooms


def circle(imports: Mapping[str, set[str]]) -> list[str]:
    """Return one that imports itself by way of others, with those in between, if there is one."""
    left = dict(imports)
    while free := [one for one, others in left.items() if not others & left.keys()]:
        for one in free:
            del left[one]
    # each that is left imports another that is left
    path = [min(left)] if left else []
    while path:
        following = min(left[path[-1]] & left.keys())
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
    return []


def test_a_circle_is_found_wherever_it_is() -> None:
    line = {"a": {"b", "d"}, "b": {"c"}, "c": {"d"}, "d": set[str]()}
    assert circle(line) == []
    assert circle(line | {"d": {"b"}}) == ["b", "c", "d", "b"]
    assert circle(line | {"c": {"c"}}) == ["c", "c"]
    rooms = graph_of_rooms({"x.a.one": {"x.b.one"}, "x.b.one": set(), "x.b.two": {"x.a.one"}})
    assert circle(rooms) == ["a", "b", "a"]


def test_no_modules_import_each_other_in_a_circle() -> None:
    imports = import_graph()
    assert "distpg.iteration" in imports["distpg.train"]
    assert "distpg.learner.on_policy" in imports["distpg.learner.learner"]
    found = circle(imports)
    assert not found, " -> ".join(found)


def test_no_rooms_import_each_other_in_a_circle() -> None:
    rooms = graph_of_rooms(import_graph())
    assert "rollout" in rooms["actors"]
    found = circle(rooms)
    assert not found, " -> ".join(found)


def test_the_loop_sees_protocols_and_the_two_kinds_of_workers_stand_apart() -> None:
    imports = import_graph()
    for module, others in imports.items():
        rooms = {room_of(other) for other in others}
        if room_of(module) == "train":
            assert not rooms & {"actors", "rollout"}, f"{module} sees more than Protocols"
        if room_of(module) == "actors":
            assert "distpg.rollout.in_process" not in others, module
        if room_of(module) == "rollout":
            assert "actors" not in rooms, module
    assert {room_of(module) for module in imports} >= {"train", "actors", "rollout"}


def names_in_tables(text: str) -> set[str]:
    """Return what stands in backticks within Markdown tables."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    found = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    return {name.removeprefix("distpg/") for name in found}


def unnamed(paths: Iterable[str], names: set[str]) -> list[str]:
    """Return the paths that are neither named nor in a folder that is."""
    folders = tuple(name for name in names if name.endswith("/"))
    return [path for path in paths if path not in names and not path.startswith(folders)]


def test_a_module_that_no_table_names_is_found() -> None:
    text = "`a.py` is here:\n\n| file | what |\n|---|---|\n| `b.py`, `c/` | so and `d/e.py` |\n"
    paths = ("a.py", "b.py", "c/x.py", "d/e.py", "d/f.py")
    assert unnamed(paths, names_in_tables(text)) == ["a.py", "d/f.py"]


def test_every_module_has_its_row_in_the_architecture() -> None:
    names = names_in_tables((ROOT / "ARCHITECTURE.md").read_text("utf-8"))
    files = [file for file in sources() if file.name != "__init__.py"]
    paths = [file.relative_to(ROOT / "distpg").as_posix() for file in files]
    assert "learner/sequences.py" in paths
    assert unnamed(paths, names) == []


def test_the_front_door_opens_on_the_command_line_alone() -> None:
    modules = {module for module, _ in imported(ROOT / "launch.py")}
    assert modules == {"sys", "distpg.cli", "distpg.cli.main"}


@pytest.mark.parametrize("package", sorted(DOORS))
def test_a_heavy_package_comes_in_by_its_door_alone(package: str) -> None:
    found = {
        file.relative_to(ROOT).as_posix()
        for file in sources()
        for module, _ in imported(file)
        if module.split(".")[0] == package
    }
    assert found, f"nothing imports {package}"
    strays = {path for path in found if not path.startswith(DOORS[package])}
    assert not strays


def test_only_the_process_that_computes_imports_torch_at_its_top() -> None:
    code = (
        "import sys, distpg, distpg.cli, distpg.commands.train, distpg.commands.imitate\n"
        "print(*sorted({'torch', 'ray'} & sys.modules.keys()))"
    )
    assert run_python(code) == ""


def test_all_but_the_actors_import_without_ray() -> None:
    modules = sorted(
        module_of(file)
        for file in sources()
        if room_of(module_of(file)) != "actors" and file.name != "__main__.py"
    )
    assert "distpg.rollout.worker" in modules
    assert len(modules) > 25
    code = (
        "import sys, importlib\n"
        "sys.modules['ray'] = None\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        "print('fine')"
    )
    assert run_python(code) == "fine"


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
