"""`python docs/tools/quotes.py`: refresh the functions that pages quote from the sources.

A quote is a code block whose title names a file and a function or class in it, as in

    ```python title="distpg/gradient/returns.py, reverse_scan"

Its content is the source without the docstring. With `--check` nothing is written; the exit code
is 1 if a quote differs.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
QUOTE = re.compile(
    r'(?P<head>```python title="(?P<file>[\w/]+\.py), (?P<name>[\w.]+)"\n).*?(?P<end>```\n)',
    re.DOTALL,
)


def refreshed(page: str) -> str:
    """Return the text of a page with the functions as they are now.

    Raises:
        ValueError: the title of a block does not name a file and a function.
    """
    new, count = QUOTE.subn(lambda x: x["head"] + quote(x["file"], x["name"]) + x["end"], page)
    if count != page.count("```python title="):
        raise ValueError("a block's title is not a file and a name in it, with a comma between")
    return new


def quote(file: str, name: str) -> str:
    """Return the source of a function, class or method, without its docstring.

    Raises:
        LookupError: the file has no such name.
    """
    source = (ROOT / file).read_text("utf-8")
    body, found = ast.parse(source).body, None
    for part in name.split("."):
        named = (x for x in body if isinstance(x, ast.FunctionDef | ast.ClassDef))
        found = next((x for x in named if x.name == part), None)
        if found is None:
            raise LookupError(f"{file} has no {name}")
        body = found.body
    assert found is not None, "a name has at least one part"
    lines = source.splitlines(keepends=True)
    first = found.body[0]
    skipped = range(0)
    if ast.get_docstring(found) is not None:
        skipped = range(first.lineno, (first.end_lineno or first.lineno) + 1)
    numbers = range(found.lineno, (found.end_lineno or found.lineno) + 1)
    kept = [lines[number - 1][found.col_offset :] for number in numbers if number not in skipped]
    return "".join(line if line.strip() else "\n" for line in kept)


def main() -> int:
    """Refresh the pages, or compare them; return the exit code."""
    stale = False
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text("utf-8")
        new = refreshed(text)
        stale |= new != text
        if "--check" not in sys.argv:
            page.write_text(new, "utf-8")
    return int(stale and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
