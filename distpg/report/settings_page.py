"""`python -m distpg.report.settings_page > docs/settings.md`: every setting, from its docstring."""

import math
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from distpg.config.config import from_toml, hints, presets
from distpg.config.files import spell
from distpg.config.flag_types import field_docs
from distpg.config.flags import ConfigFlags
from distpg.config.values import Range, flag
from distpg.report.texts import code, table

HEAD = """\
# Settings

Each setting is a flag of `train`, `imitate`, `bench` and `config`, a key of a TOML file and a
keyword of `Config`: `--learning-rate`, `learning_rate = 1e-3`, `Config(learning_rate=1e-3)`.
[How settings combine](cli.md#how-settings-combine) says which source overrides which, and how
switches, lists and tables are written. The defaults are those without a [preset](#presets).

Generated from the docstrings in [distpg/config/settings.py](../distpg/config/settings.py) by
`python -m distpg.report.settings_page > docs/settings.md`."""
WORDS = {str: "text", bool: "switch", types.NoneType: "`none`", dict: "table"}
UNLIMITED = 1e15
"""An upper limit that nobody reaches, which is left out."""


def page() -> Iterator[str]:
    """Yield the lines of docs/settings.md."""
    yield HEAD
    for title, group in ConfigFlags().groups().items():
        yield from ("", f"## {title.capitalize()}", "", str(type(group).__doc__), "")
        yield from table(("flag", "default", "allowed", "meaning"), rows_of(group))
    yield from ("", "## Presets", "", "What `--algo` sets. An empty cell is the default.", "")
    columns = {name: from_toml(settings) for name, settings in presets().items()}
    names = [name for name in hints() if any(name in column for column in columns.values())]
    cells = [[shown(x[name]) if name in x else "" for x in columns.values()] for name in names]
    labelled = [(code(flag(name)), *row) for name, row in zip(names, cells, strict=True)]
    yield from table(("flag", *columns), labelled)


def rows_of(group: Any) -> Iterator[tuple[str, str, str, str]]:
    """Yield flag, default, allowed values and meaning of each setting of a group."""
    docs = field_docs(type(group))
    for name, default in vars(group).items():
        meaning, _, derived = docs[name].partition(" Default: ")
        shown_default = derived.removesuffix(".") or shown(default)
        yield code(flag(name)), shown_default, allowed(hints()[name]), marked_up(meaning)


def allowed(hint: Any) -> str:
    """Describe the values that an annotation allows."""
    origin, options = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kind, limits = options
        return f"{whole(kind)}{span(limits)}" if isinstance(limits, Range) else str(limits)
    if origin is Literal:
        return ", ".join(code(str(option)) for option in options)
    if origin in (types.UnionType, Union):
        # objects stand for names in Python alone
        parts = [allowed(option) for option in options if get_origin(option) is not Callable]
        return " or ".join(parts)
    if origin is tuple:
        return f"list of {allowed(options[0])}"
    return WORDS[origin or hint]


def whole(kind: type) -> str:
    """Return a word for whole numbers; for others none."""
    return "integer, " if kind is int else ""


def span(limits: Range) -> str:
    """Describe a range of numbers."""
    if math.isinf(limits.low):
        return "any number"
    low = f"{limits.low:,}"
    if limits.high >= UNLIMITED:
        return f"more than {low}" if limits.open_low else f"at least {low}"
    return f"{low} to {limits.high:,}{', exclusive' if limits.open_high else ''}"


def shown(value: Any) -> str:
    """Show a value as a file has it, texts without quotation marks."""
    return code(spell(value).strip('"'))


def marked_up(meaning: str) -> str:
    """Mark flags as code and pages as links in the text of a docstring."""
    text = re.sub(r"--[a-z][a-z-]*", r"`\g<0>`", meaning.replace("*", "\\*"))
    return re.sub(r"docs/([a-z]+\.md)", r"[\1](\1)", text)


if __name__ == "__main__":
    sys.stdout.write("\n".join([*page(), ""]))
