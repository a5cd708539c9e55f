"""What a user installs: the files of wheel and sdist, and the types that checkers see there."""

import inspect
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from email import message_from_bytes
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from distpg import Config, InputError, resume
from distpg.config.derived import DerivedSettings
from tests.settings import config_of

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
BUILD = (
    "from setuptools import build_meta\n"
    "build_meta.build_wheel('dist')\n"
    "build_meta.build_sdist('dist')"
)
SHORT = ("--num-workers", "0", "--total-steps", "500")
USER = """\
# pyright: strict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

import gymnasium as gym

from distpg import (
    Config, Iteration, Outcome, Response, Watcher, evaluate, imitate, load_config, load_policy,
    resume, train,
)
from distpg.iteration import Evaluation
from distpg.policy.play import SavedPolicy


def make_env(size: int = 3) -> gym.Env[Any, Any]:
    return gym.make("CartPole-v1")


class PrintReturn(Watcher):
    def on_iteration(self, iteration: Iteration) -> Mapping[str, float] | None:
        print(iteration.progress.mean_return, iteration.phases.collect_s)
        return {"mine/steps": iteration.progress.env_steps}


class PrintNumber(Watcher):
    def on_iteration(self, iteration: int) -> None:  # error
        print(iteration)


class Stops(Watcher):
    def on_iteration(self, iteration: Iteration) -> Response:
        return Response(stop=3)  # error


config = Config(env_id="CartPole-v1", num_envs=4, hidden_sizes=(32,), target_kl=None)
assert_type(config, Config)
assert_type(config.learning_rate, float)
assert_type(load_config("cartpole-ppo", seed=1), Config)
Config(learning_rat=1e-3)  # error
Config(num_envs="4")  # error
Config(surrogate="clipped")  # error
Config("ppo")  # error
config.num_envs = 8  # error

outcome = train(config, make_env=make_env, run_dir="runs/a")
assert_type(outcome, Outcome)
assert_type(outcome.run_dir, Path)
assert_type(outcome.signal, int | None)
train("cartpole-ppo")  # error
train(config, quite=True)  # error
assert_type(imitate(config, "runs/a", dagger_rounds=2), Outcome)
assert_type(resume("runs/a", total_steps=10, stop_at_return=None), Outcome)
resume("runs/a", total_step=10)  # error
resume("runs/a", device="gpu")  # error

evaluation = evaluate("runs/a", episodes=10)
assert_type(evaluation, Evaluation)
assert_type(evaluation.mean_return, float)
assert_type(load_policy("runs/a"), SavedPolicy)

train(config, watchers=[PrintReturn, PrintReturn(), lambda iteration: None])
train(config, watchers=["PrintReturn"])  # error
"""
MYPY = """\
[mypy]
strict = true
# large, and in no type of the public API but MakeEnv, which pyright checks
[mypy-torch.*,ray.*,numpy.*,gymnasium.*,rich.*,tyro.*]
follow_imports = skip
follow_imports_for_stubs = true
"""


def build(source: Path, code: str) -> Path:
    """Copy what is packed to a folder, since setuptools writes beside the source; build there."""
    source.mkdir(exist_ok=True)
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "distpg", source / "distpg", ignore=skip)
    subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, check=True)
    return source / "dist"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist."""
    return build(tmp_path_factory.mktemp("source"), BUILD)


@pytest.fixture(scope="module")
def user(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with user.py, and an environment in venv/ that has the wheel installed.

    Of an editable install checkers read the repository's source without asking for py.typed.
    """
    folder = tmp_path_factory.mktemp("user")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = dist.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    subprocess.run([*pip, str(wheel)], capture_output=True, check=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (folder / "user.py").write_text(USER)
    (folder / "mypy.ini").write_text(MYPY)
    return folder


def package_files() -> set[str]:
    return {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "distpg").rglob("*")
        if file.suffix in (".py", ".toml") or file.name == "py.typed"
    }


def test_the_package_has_types_presets_and_recipes() -> None:
    names = {"py.typed", "config/presets/ppo.toml", "config/recipes/cartpole-ppo.toml"}
    assert {f"distpg/{name}" for name in names} <= package_files()


def test_the_wheel_holds_every_file_of_the_package(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    held = {name for name in ZipFile(wheel).namelist() if name.startswith("distpg/")}
    assert held == package_files()


def test_the_sdist_holds_every_file_of_the_package(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert package_files() | {*SOURCES} <= held


def test_a_script_beside_the_checkout_imports_the_package(tmp_path: Path) -> None:
    # `make setup` installs as editable; there, a folder named distpg without __init__.py is found
    checkout = tmp_path / "distpg"
    code = "from setuptools import build_meta\nbuild_meta.build_editable('dist')"
    (wheel,) = build(checkout, code).glob("*.whl")
    site = tmp_path / "site-packages"
    ZipFile(wheel).extractall(site)
    (tmp_path / "script.py").write_text(
        "import site, sys\n"
        f"site.addsitedir({str(site)!r})\n"
        f"sys.path.append({sysconfig.get_path('purelib')!r})\n"
        "import distpg\n"
        "print(distpg.__file__, distpg.Config.__name__)\n"
    )
    # without the packages of this environment, in which distpg is installed, too
    command = [sys.executable, "-S", "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [str(checkout / "distpg" / "__init__.py"), "Config"], done.stderr


def test_the_page_of_the_package_needs_no_checkout(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        page = message_from_bytes(archive.read(metadata))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    repository = project["urls"]["Repository"]
    assert page["Description-Content-Type"] == "text/markdown"
    assert page.get_all("Project-URL") == [
        f"{name}, {url}" for name, url in project["urls"].items()
    ]
    assert all(url.startswith(repository) for url in project["urls"].values())
    assert page.get_all("Classifier") == project["classifiers"]
    found = page.get_payload()
    assert isinstance(found, str)
    links = re.findall(r"\]\(([^)\s]+)\)", found)
    paths = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text("utf-8"))
    relative = [path for path in paths if "://" not in path and path[0] != "#"]
    assert len(relative) > 20
    kinds = ("raw", "blob", "tree")
    targets = [link.removeprefix(f"{repository}/").split("/", 2) for link in links]
    found_paths = [path for kind, *_, path in targets if kind in kinds]
    assert found_paths == relative
    assert f"![Mean return over env steps, five seeds]({repository}/raw/HEAD/docs/" in found
    assert f"({repository}/tree/HEAD/benchmarks/results)" in found


def test_no_other_file_has_the_url_of_the_repository() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    repository = project["urls"]["Repository"]
    kinds = (".py", ".md", ".toml", ".yml", ".yaml", ".ipynb", "Makefile")
    files = [
        file
        for folder in (ROOT, *(ROOT / name for name in ("distpg", "docs", "cluster", "examples")))
        for file in (folder.glob("*") if folder == ROOT else folder.rglob("*"))
        if file.is_file() and file.name.endswith(kinds)
    ]
    having = {file.name for file in files if repository in file.read_text("utf-8")}
    assert having == {"pyproject.toml"}


@pytest.mark.thorough
def test_the_installed_command_trains_in_an_empty_folder(user: Path, tmp_path: Path) -> None:
    folder = user / "venv" / "bin"
    # the checkout is not to be found
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    found = {}
    for words in (["--help"], ["recipes"], ["train", "--config", "cartpole-ppo", *SHORT]):
        done = subprocess.run(
            [folder / "distpg", *words],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found[words[0]] = done.stdout
    assert "train a policy" in found["--help"]
    assert "halfcheetah-ppo" in found["recipes"]
    assert "total_steps: mean return" in found["train"]
    assert len([*tmp_path.glob("runs/CartPole-v1/*/policy.safetensors")]) == 1


@pytest.mark.thorough
@pytest.mark.parametrize(
    "checker",
    [
        ["mypy", "--cache-dir", "cache", "--python-executable", "venv/bin/python"],
        ["pyright", "--pythonpath", "venv/bin/python"],
    ],
    ids=lambda words: words[0],
)
def test_a_checker_finds_the_mistakes_in_a_users_file_and_no_others(
    user: Path, checker: list[str]
) -> None:
    command = [sys.executable, "-m", *checker, "user.py"]
    done = subprocess.run(command, cwd=user, capture_output=True, text=True, check=False)
    found = {int(line) for line in re.findall(r"user\.py:(\d+)\S* (?:- )?error", done.stdout)}
    lines = enumerate(USER.splitlines(), start=1)
    assert found == {number for number, line in lines if line.endswith("# error")}, done.stdout


def test_a_misspelt_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError) as caught:
        config_of({"learning_rat": 1e-3})
    assert str(caught.value).startswith("learning_rat: no such setting; did you mean learning_rate")
    assert "\n" not in str(caught.value)


def test_a_setting_that_resume_cannot_change_is_refused_with_those_that_it_can() -> None:
    changes: dict[str, Any] = {"gamma": 0.5}
    with pytest.raises(InputError, match="gamma: resume changes only address, compile, device, "):
        resume("runs/none", **changes)


def test_the_signature_of_config_lists_the_settings_with_their_defaults() -> None:
    parameters = inspect.signature(Config).parameters
    assert list(parameters) == list(inspect.signature(DerivedSettings).parameters)
    assert {one.kind for one in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert parameters["algo"].default == "ppo"
    assert parameters["gamma"].default == Config().gamma
    assert parameters["target_kl"].default is None
