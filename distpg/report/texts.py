"""Texts of TensorBoard, in Markdown: the settings of a run, and its faults."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from distpg.config.config import Config
from distpg.config.files import changed_settings, spell, to_toml


class FaultRow(NamedTuple):
    """A fault, and how far the run was."""

    env_steps: int
    iteration: int
    kind: str
    message: str


def settings_text(given: Config, config: Config) -> str:
    """Return the settings of a run: first those that are not at their defaults, then all.

    Args:
        given: The settings as they were given.
        config: The same, resolved.
    """
    changed: Mapping[str, Any] = changed_settings(given)
    rows = [
        (name, spell(getattr(given, name)), spell(default)) for name, default in changed.items()
    ]
    return "\n".join(
        [
            *table(("changed setting", "value", "default"), rows),
            "",
            "All settings, resolved:",
            "",
            f"```\n{to_toml(config)}```",
        ]
    )


def faults_text(rows: Iterable[FaultRow]) -> str:
    """Return a list of faults.

    A table has no room for long messages beside its other columns.
    """
    return "\n".join(
        f"- iteration {row.iteration}, {row.env_steps:,} env steps, {row.kind}: {code(row.message)}"
        for row in rows
    )


def code(text: str) -> str:
    """Return a text as code, in which nothing is markup."""
    return "`" + " ".join(text.split()).replace("`", "'") + "`"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return the lines of a table."""
    cells = [[str(value).replace("|", "\\|").replace("\n", " ") for value in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *cells)]
