"""Help texts, shell completion, and the commands that print recipes and configurations."""

import contextlib
import io
import itertools
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from distpg import Config, load_config
from distpg.cli import COMMANDS, main
from distpg.commands.resume import ResumeFlags
from distpg.config.config import hints
from distpg.config.files import measurements, recipes
from distpg.config.flags import COMMON, read_flags
from distpg.config.values import flag

WIDTH = 80
GROUPS = ["run", "environment", "collection", "gradient estimator", "policy", "learner"]
WITH_SETTINGS = ["train", "imitate", "bench", "config"]
COMPLETE = """
source "$1"
COMP_WORDS=(distpg "${@:2}") COMP_CWORD=$(($# - 1))
_tyro_distpg
echo "${COMPREPLY[@]}"
"""


def run_main(*words: str) -> int:
    """Call the command line in this process; its exit code."""
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


def printed(*words: str) -> str:
    """What a command prints in a terminal, which tyro draws boxes in; pytest's stdout is none."""
    terminal = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    with contextlib.redirect_stdout(terminal):
        assert run_main(*words) == 0
    terminal.seek(0)
    return terminal.read()


def boxes(text: str) -> dict[str, tuple[list[str], list[str]]]:
    """Split a help into its groups: for each title, the lines of its header and of its flags."""
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for box in text.split("╭─ ")[1:]:
        title, *lines = box.splitlines()
        lines = [line.strip("│").rstrip() for line in lines if line.startswith("│")]
        rule = next((i for i, line in enumerate(lines) if line.strip().startswith("──")), None)
        header = lines[:rule] if rule is not None else []
        flags = lines[rule + 1 :] if rule is not None else lines
        groups[title.split(" options")[0]] = header, flags
    return groups


def flags_at_line_starts(lines: list[str]) -> list[str]:
    return [line.split()[0].strip(",") for line in lines if line.startswith(" --")]


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))


@pytest.mark.parametrize("command", WITH_SETTINGS)
def test_help_names_every_setting_once_and_help_all_describes_it(command: str) -> None:
    every = Counter(map(flag, hints()))
    brief = boxes(printed(command, "--help"))
    full = boxes(printed(command, "--help-all"))
    assert [*brief][-6:] == [*full][-6:] == GROUPS
    named: list[str] = []
    described: list[str] = []
    for title in GROUPS:
        header, flags = brief[title]
        named += " ".join(header).rstrip(".").replace(",", "").partition("--help-all):")[2].split()
        described += flags_at_line_starts(flags)
    assert Counter(described + named) == every
    assert set(described) == set(map(flag, COMMON))
    assert Counter(flags_at_line_starts([x for g in GROUPS for x in full[g][1]])) == every


@pytest.mark.parametrize("command", COMMANDS)
def test_a_help_fits_into_the_terminal_and_spells_none_as_files_do(command: str) -> None:
    for switch in ["--help", "--help-all"][: 1 + (command in WITH_SETTINGS)]:
        text = printed(command, switch)
        assert max(map(len, text.splitlines())) <= WIDTH
        assert "None" not in text


def test_help_texts_are_reflowed() -> None:
    for header, flags in boxes(printed("train", "--help-all")).values():
        texts = header + [line[23:] for line in flags if line[1:24].isspace()]
        for line, following in itertools.pairwise(texts):
            complete = line.rstrip().endswith((")", "."))
            room = WIDTH - len("│ │") - (23 if line not in header else 0) - len(line)
            assert complete or len(following.split()[0]) >= room - 1, line


def test_defaults_in_the_help_are_those_of_preset_and_file() -> None:
    assert "(default: 0.001)" in printed("train", "--help", "--algo", "a2c")
    assert "(default: HalfCheetah-v5)" in printed("train", "--help", "--config", "halfcheetah-ppo")
    text = printed("train", "--help-all")
    assert "(default: one per worker)" in text
    assert "(default: 2)" in printed("train", "--num-slots", "2", "--help-all")


def test_the_top_level_help_is_a_line_per_command() -> None:
    lines = printed("--help").splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == list(COMMANDS)
    assert max(map(len, lines)) <= WIDTH


def test_none_switches_a_setting_off_and_python_s_none_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["run", "--stop-at-return", "none", "--num-workers", "3"]
    flags = read_flags(ResumeFlags, words, "distpg resume")
    assert flags.changes == {"stop_at_return": None, "num_workers": 3}
    assert read_flags(ResumeFlags, ["run"], "distpg resume").changes == {}
    for command in ("resume run", "train"):
        assert run_main(*command.split(), "--stop-at-return", "None") == 2
        assert "['None']" in capsys.readouterr().err


def test_recipes_lists_every_recipe_with_its_task_and_result() -> None:
    assert measurements().keys() <= recipes().keys()
    lines = printed("recipes").splitlines()[1:-1]
    assert [line.split()[0] for line in lines] == list(recipes())
    (walker,) = (line for line in lines if line.startswith("walker2d-ppo"))
    assert walker.split(maxsplit=1)[1] == "Walker2d-v5, 1M steps   not measured"
    shipped = json.loads(printed("recipes", "--json"))
    assert {x["recipe"]: x["measured"] for x in shipped if x["measured"]} == measurements()
    assert {"task": "CartPole-v1 to 475", "algo": "ppo"}.items() <= shipped[1].items()


def test_config_prints_a_file_that_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    words = ["--config", "cartpole-a2c", "--learning-rate", "0.01", "--hidden-sizes", "8"]
    words += ["--env-kwargs", '{"gamma": 1, "nested": {"sizes": [1, 2]}}']
    written = printed("config", *words)
    file = tmp_path / "my.toml"
    file.write_text(written)
    kwargs = {"gamma": 1, "nested": {"sizes": [1, 2]}}
    changes = {"learning_rate": 0.01, "hidden_sizes": (8,), "env_kwargs": kwargs}
    assert load_config(str(file)) == load_config("cartpole-a2c", **changes).resolved()
    for line in (
        "learning_rate = 0.01  # preset a2c: 0.001",
        "num_epochs = 1  # preset a2c; default: 10",
        'stop_at_return = 475.0  # default: "none"',
        "hidden_sizes = [  # default: [64, 64]",
        "gamma = 0.99",
    ):
        assert line in written.splitlines()


def test_config_marks_nothing_in_the_defaults() -> None:
    written = printed("config")
    assert "#" not in written
    assert f"num_slots = {Config().slots}" in written


def test_the_package_is_a_program() -> None:
    words = [sys.executable, "-m", "distpg", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("distpg ")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_flags_and_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "distpg.bash"
    script.write_text(printed("--tyro-print-completion", "bash"))

    def complete(*words: str) -> list[str]:
        call = ["bash", "-c", COMPLETE, "bash", str(script), *words]
        done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.split()

    assert complete("re") == ["recipes", "reproduce", "resume"]
    assert complete("train", "--learning") == ["--learning-rate"]
    assert complete("train", "--advantage", "v") == ["vtrace"]
    assert run_main("train", "--tyro-print-completion", "csh") == 2
    assert "'csh'" in capsys.readouterr().err
