"""The documentation lacks nothing, is not out of date, and builds."""

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import distpg
from distpg import Config
from distpg.cli import COMMANDS, flags_of, load_command, main
from distpg.config.config import hints
from distpg.config.files import spell
from distpg.config.flags import COMPLETION, ConfigFlags
from distpg.config.values import flag
from distpg.config.zoo.hyperparameters import DEFAULTS
from distpg.report.charts import CHARTS
from distpg.report.settings_page import page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
FOREIGN = re.compile(
    r"\b(ray|pip|make|git|hf|wandb|tensorboard|docker|python -m (?!distpg)|\.ci/run)\b"
)
"""A line with one of these may have flags of another program."""


def text_of(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


@cache
def flags_of_command(command: str) -> frozenset[str]:
    """Return the flags that a command's help lists."""
    has_settings = issubclass(flags_of(load_command(command)), ConfigFlags)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([command, "--help-all" if has_settings else "--help"])
    return frozenset(FLAG.findall(printed.getvalue()))


@cache
def every_flag() -> frozenset[str]:
    """Return the flags of all commands, and those that `distpg` itself has."""
    others = {"--version", COMPLETION}
    return frozenset(others.union(*map(flags_of_command, COMMANDS)))


def unknown_flags(text: str) -> list[str]:
    """List the flags that a text names and no command has."""
    lines = [line for line in text.splitlines() if not FOREIGN.search(line)]
    return [x for line in lines for x in FLAG.findall(line) if x not in every_flag()]


def rows_of(text: str) -> Iterator[list[str]]:
    """Yield the cells of the rows of all tables of a page."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_of_settings_is_what_the_docstrings_generate() -> None:
    text = text_of("settings.md")
    assert text == "\n".join([*page(), ""])
    assert [name for name in hints() if f"| `{flag(name)}` |" not in text] == []


def test_every_command_has_its_row() -> None:
    named = {
        row[0].strip("`").split()[1] for row in rows_of(text_of("cli.md")) if "distpg" in row[0]
    }
    assert named >= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_a_command_is_documented(command: str) -> None:
    pages = " ".join(path.read_text("utf-8") for path in DOCS.glob("*.md"))
    named = set(FLAG.findall(pages))
    assert {x for x in flags_of_command(command) if not x.startswith("--no-")} - named == set()


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    described = set(re.findall(r"^::: distpg\.(?:\w+\.)*(\w+)$", text_of("api.md"), re.MULTILINE))
    assert set(distpg.__all__) - described == set()


@pytest.mark.parametrize("document", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_flags_that_are_named_exist(document: Path) -> None:
    assert unknown_flags(document.read_text("utf-8")) == []


def test_an_unknown_flag_is_found() -> None:
    assert unknown_flags("`--gamma` and --no-overlap, --gama 1\nray start --head") == ["--gama"]


def test_defaults_in_the_tables_beside_other_libraries_are_those_of_config() -> None:
    config, compared = Config(), set[str]()
    for document in ("from-stable-baselines3.md", "from-rllib.md"):
        for row in rows_of(text_of(document)):
            setting = re.fullmatch(r"`--([a-z-]+)`", row[2]) if len(row) == 4 else None
            if setting and row[3]:
                name = setting[1].replace("-", "_")
                value = spell(getattr(config, name)).strip('"[]').replace(",", "")
                assert row[3].strip("`") == value, f"{document}: {row[2]}"
                compared.add(name)
    assert len(compared) > 15


def test_defaults_of_stable_baselines3_in_the_table_are_those_that_are_translated() -> None:
    defaults, compared = DEFAULTS["ppo"], 0
    for name, value, *_ in rows_of(text_of("from-stable-baselines3.md")):
        key = name.strip("`")
        if key in defaults:
            compared += 1
            assert value.strip("`") == str(defaults[key]), name
    assert compared > 10


def test_the_charts_that_are_asked_about_exist() -> None:
    charts = {chart for titles in CHARTS.values() for chart in titles}
    named = {row[0].partition(",")[0] for row in rows_of(text_of("troubleshooting.md")) if row[2:]}
    named -= {"chart", "---"}
    assert len(named) > 12
    assert named <= charts


def test_quotes_of_the_sources_are_fresh() -> None:
    script = [sys.executable, "docs/tools/quotes.py", "--check"]
    assert subprocess.run(script, cwd=ROOT, check=False).returncode == 0
    quoted = re.findall(r"^```python title=.*\n(def |class |@|    )", text_of("concepts.md"), re.M)
    assert len(quoted) > 10


@pytest.mark.thorough
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    home = (tmp_path / "index.html").read_text("utf-8")
    assert [name for name in pages if f'href="{name}/"' not in home] == []
    learner = tmp_path / "repository" / "distpg" / "learner" / "minibatch.py" / "index.html"
    assert "minibatch_gradient" in learner.read_text("utf-8")
