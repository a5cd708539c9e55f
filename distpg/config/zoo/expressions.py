"""Python expressions in a file of settings: parsed as a syntax tree, never evaluated."""

import ast
from collections.abc import Collection
from typing import Any

from distpg.config.values import one_of
from distpg.errors import InputError

ALLOWED = "numbers, texts, True, False, None, lists, tuples and dict(...)"


class DottedName(str):
    """A name such as nn.ReLU, which is not looked up."""


def parse(text: str, names: Collection[str]) -> Any:
    """Return the value of an expression of literals, lists, tuples, dicts and known names.

    Args:
        text: The expression.
        names: The dotted names that it may have; each becomes a `DottedName`.

    Raises:
        InputError: it is not such an expression; the message has the part that is not allowed.
    """
    try:
        return _value(ast.parse(text.strip(), mode="eval").body, names)
    except InputError:
        raise
    except (MemoryError, RecursionError, SyntaxError, ValueError) as error:
        raise InputError(f"{text!r:.80} is not a Python expression") from error


def _value(node: ast.expr, names: Collection[str]) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items):
            return [_value(item, names) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item, names) for item in items)
        case ast.Dict(keys=keys, values=values):
            pairs = [(_key(key, names), value) for key, value in zip(keys, values, strict=True)]
            return _table(pairs, names)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return _table([(keyword.arg, keyword.value) for keyword in keywords], names)
        case ast.Name() | ast.Attribute() if names:
            name = ast.unparse(node)
            if name in names:
                return DottedName(name)
            raise InputError(f"{name!r:.80} is not known; known: {one_of(sorted(names))}")
        case _:
            raise InputError(f"{ast.unparse(node)!r:.80} is not allowed; allowed are {ALLOWED}")


def _key(node: ast.expr | None, names: Collection[str]) -> object:
    return None if node is None else _value(node, names)


def _table(pairs: list[tuple[object, ast.expr]], names: Collection[str]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        # ** has no key
        if not isinstance(key, str) or key in table:
            raise InputError(f"a dict with the key {key!r:.60}, but each must be another text")
        table[key] = _value(value, names)
    return table
