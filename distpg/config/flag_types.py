"""How tyro reads and describes flags: JSON, lists, `none`, and help texts from docstrings."""

import json
from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

import docstring_parser
import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from distpg.config.settings import EnvKwargs
from distpg.config.values import flag

REPEATED = {"env_wrapper", "watcher"}
"""Settings whose flag is given once for each item, after those of --config."""


LISTS: dict[Any, tuple[str, str, str]] = {
    int: ("integers", "64 64", "[INT ...]"),
    float: ("numbers", "0.9 0.999", "[FLOAT ...]"),
    str: ("names", "obs", "[NAME ...]"),
    Path: ("paths", "runs/a runs/b", "[PATH ...]"),
}
"""By the type of a list's items: what they are called, an example, and how help shows them."""


def json_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[EnvKwargs] | None:
    """Parse a dict from a JSON object."""
    if info.type_origin is not dict:
        return None

    def parse(words: list[str]) -> EnvKwargs:
        try:
            value: Any = json.loads(words[0])
        except (RecursionError, ValueError):
            value = None
        if not isinstance(value, dict):
            raise ValueError(f'{words[0]!r:.60} is not a JSON object such as {{"key": 1}}')
        return cast("EnvKwargs", value)

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=parse,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [json.dumps(value)],
    )


def whole_number(word: str) -> int:
    """Read an integer."""
    try:
        return int(word)
    except ValueError:
        example = "64 or 1_000_000"
        raise ValueError(f"{word!r:.60} is not a whole number such as {example}") from None


def integer_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """Parse an integer."""
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def list_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[tuple[Any, ...]] | None:
    """Parse a tuple of integers, numbers, names or paths; an error shows how to write the first."""
    if info.type_origin is not tuple or tyro.conf.UseAppendAction in info.markers:
        return None
    item = get_args(info.type)[0]
    kind: Any = get_args(item)[0] if get_origin(item) is Annotated else item
    kinds, example, metavar = LISTS[kind]

    def parse(words: list[str]) -> tuple[Any, ...]:
        try:
            return tuple(map(kind, words))
        except ValueError:
            listed = " ".join(words)
            raise ValueError(f"{listed!r} is not a list of {kinds} such as {example}") from None

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=metavar,
        instance_from_str=parse,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [str(number) for number in value],
    )


def none_rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[None] | None:
    """Parse None from the word none, as in TOML files."""
    if info.type is not type(None):
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="none",
        instance_from_str=lambda words: None,
        is_instance=lambda value: value is None,
        str_from_instance=lambda value: ["none"],
        choices=("none",),
    )


def dataclass_rule(
    info: StructTypeInfo, *, only_named: Collection[str] = ()
) -> StructConstructorSpec | None:
    """Make each field of a dataclass a flag, or a group of flags if it is a dataclass itself.

    Args:
        info: The class, and an instance that holds the defaults.
        only_named: Fields that the help lists by name, after the text of their group.
    """
    kind = info.type
    if not is_dataclass(kind) or not kind.__module__.startswith("distpg"):
        return None
    hints = get_type_hints(kind, include_extras=True)

    def spec(name: str) -> StructFieldSpec:
        hint, default = written(hints[name]), getattr(info.default, name)
        if is_dataclass(default):
            text = group_text(type(default), only_named)
            return StructFieldSpec(name, hint, default, helptext=text)
        text = partial(help_text, kind, name)
        if name in REPEATED:
            hint = tyro.conf.UseAppendAction[hint]
            return StructFieldSpec(name, hint, default, helptext=text)
        shown = tyro.conf.arg(help_behavior_hint=partial(default_text, kind, name))
        return StructFieldSpec(name, cast("Any", Annotated)[hint, shown], default, helptext=text)

    names = [field.name for field in fields(kind) if field.name not in only_named]
    return StructConstructorSpec(instantiate=kind, fields=tuple(map(spec, names)))


def written(hint: Any) -> Any:
    """Return the part of an annotation that can be written as text: all but objects of Python."""
    options = get_args(hint)
    if get_origin(hint) is tuple:
        return tuple[written(options[0]), ...]
    if any(get_origin(option) is Callable for option in options):
        return Union[tuple(option for option in options if get_origin(option) is not Callable)]  # noqa: UP007
    return hint


def group_text(group: type[Any], only_named: Collection[str]) -> str:
    """Return the docstring of a group, and the flags that are not described."""
    text = " ".join(str(group.__doc__).split())
    named = [flag(field.name) for field in fields(group) if field.name in only_named]
    return f"{text} More (see --help-all): {', '.join(named)}." if named else text


def help_text(kind: type, name: str) -> str:
    """Return a field's docstring, without the "Default: ..." that may end it."""
    return field_docs(kind).get(name, "").partition(" Default: ")[0]


def default_text(kind: type, name: str, value: str) -> str:
    """Describe a default; if it is none or empty, the docstring may say what that means."""
    derived = field_docs(kind).get(name, "").partition(" Default: ")[2].removesuffix(".")
    return f"(default: {derived if derived and value in ('', 'none') else value})"


@cache
def field_docs(kind: type) -> dict[str, str]:
    """Return the docstrings of a dataclass's fields, each as one line."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if is_dataclass(base):
            for field in docstring_parser.parse_from_object(base).params:
                docs[field.arg_name] = " ".join(str(field.description).split())
    return docs


def make_registry(*, only_named: Collection[str] = ()) -> ConstructorRegistry:
    """Return the rules by which tyro reads flags; `only_named` as for `dataclass_rule`."""
    made = ConstructorRegistry()
    for rule in (json_rule, integer_rule, list_rule, none_rule):
        made.primitive_rule(rule)
    made.struct_rule(partial(dataclass_rule, only_named=only_named))
    return made


registry = make_registry()
