"""Where an error in user code was raised."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium
import pytest

from distpg.envs.lookup import look_up
from distpg.errors import InputError
from distpg.user_code import format_user_error, import_object, keeping_import_path


@pytest.mark.parametrize("name", ["gymnasium_robotics", "torchvision", "mine"])
def test_the_place_is_kept_for_packages_whose_name_begins_like_one_that_is_skipped(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # beside gymnasium, as in site-packages
    site = tmp_path / "site-packages"
    package = site / f"{name}_for_this_test"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def fail():\n    raise ValueError('on fire')\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(gymnasium, "__file__", str(site / "gymnasium/__init__.py"))
    module = importlib.import_module(package.name)
    with pytest.raises(ValueError, match="on fire") as raised:
        module.fail()
    assert format_user_error(raised.value) == "ValueError: on fire (__init__.py, line 2)"


@pytest.mark.parametrize("find", [look_up, import_object])
@pytest.mark.parametrize("file", ["mine/corridor.py", "./mine/corridor.py"])
def test_a_file_in_place_of_a_module_is_refused_with_the_name_of_the_module(
    find: Callable[[str], object], file: str
) -> None:
    with pytest.raises(InputError, match=r"; name the module, not its file: mine\.corridor$"):
        find(f"{file}:Corridor")


def test_what_an_environment_removes_from_the_import_path_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", ["one", "two"])
    with keeping_import_path():
        sys.path.clear()
        sys.path.append("its own")
    assert sys.path == ["its own", "one", "two"]
