"""Imports point downward only, and the heavy packages come in by one door each."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS: dict[int, tuple[str, ...]] = {
    0: ("errors", "values", "user_code", "config", "combinations", "config_file", "signals"),
    1: ("streams", "records", "spaces", "progress", "phases", "idle", "bottleneck", "flags"),
    2: ("gradient",),
    3: ("policy", "envs"),
    4: (
        "recording",
        "scores",
        "snapshot",
        "trial",
        "rollout",
        "learner",
        "measurement",
        "doctor",
        "run_dir",
        "checkpoint",
        "checkpointer",
        "safeguard",
        "evaluation",
        "report",
    ),
    5: ("train", "in_process", "actors", "proof"),
    6: ("assembly", "imitation", "commands"),
    7: ("cli", ""),
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
DOORS = {
    "ray": ("distpg/actors/",),
    "gymnasium": ("distpg/envs/",),
    "ale_py": ("distpg/envs/",),
    "mujoco": ("distpg/envs/",),
    "envpool": ("distpg/envs/envpool.py",),
    "tensorboard": ("distpg/report/tensorboard.py",),
    "minari": ("distpg/imitation/dataset.py",),
}


def sources() -> list[Path]:
    return sorted((ROOT / "distpg").rglob("*.py"))


def imported(file: Path) -> Iterator[tuple[str, int]]:
    """Every name that a file imports, also within functions, with its line."""
    tree = ast.parse(file.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} is a relative import"
            assert node.module is not None
            yield node.module, node.lineno
            if node.module == "distpg":
                yield from ((f"distpg.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
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


def test_the_loop_and_the_actors_stand_side_by_side() -> None:
    for file in sources():
        own = room_of(module_of(file))
        found = {room_of(module) for module, _ in imported(file) if module.startswith("distpg.")}
        if own == "train":
            assert not found & {"actors", "in_process"}, f"{file}: the loop sees two Protocols"
        if own in ("actors", "in_process"):
            assert not found & {"actors", "in_process"} - {own}, f"{file}: {found}"


def test_the_front_door_opens_on_the_command_line_alone() -> None:
    modules = {module for module, _ in imported(ROOT / "launch.py")}
    assert modules == {"sys", "distpg.cli"}


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
        if FLOOR_OF[room_of(module_of(file))] <= 5 and room_of(module_of(file)) != "actors"
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
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
