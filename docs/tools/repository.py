"""MkDocs hook: what the pages link to outside of docs/ becomes part of the site.

On GitHub a link from docs/ to ../ARCHITECTURE.md or ../distpg/train.py leads to that file. In the
site a document becomes a page under repository/, source code a page that shows it, a folder a list
of its files, and any other file is copied. Links are rewritten to lead there.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
DOCS, OUTSIDE = "docs/", "repository/"
LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")
CODE = re.compile(r"`[^`]+`")
FENCE = re.compile(r" *(```|~~~)")
LANGUAGES = {".py": "python", ".toml": "toml", ".txt": "text", "": "text"}
"""Of files that are shown as code, by the ends of their names."""
PROJECT = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
"""Documents that the navigation names."""
HIDDEN = "---\nsearch:\n  exclude: true\n---\n"
"""Head of a page that the search does not look into."""
GUIDE = "Guide"
"""Section of the navigation to which pages that it does not name are added."""


def on_config(config: Any) -> None:
    """Add the pages of docs/ that the navigation does not name."""
    named = yaml.safe_dump(config.nav)
    (guide,) = (section[GUIDE] for section in config.nav if GUIDE in section)
    pages = sorted(page.name for page in (ROOT / DOCS).glob("*.md"))
    guide += [page for page in pages if f" {page}\n" not in named]


def on_files(files: Files, config: Any) -> Files:
    """Add the files that pages link to, and those that the added ones link to."""
    waiting: list[str] = [*PROJECT]
    for file in files.documentation_pages():
        waiting += targets(DOCS + file.src_uri, file.content_string)
    added = set[str]()
    while waiting:
        path = waiting.pop()
        if path in added or path.startswith(DOCS):
            continue
        added.add(path)
        if (ROOT / path).suffix in (".md", *LANGUAGES):
            text = page_text(path)
            waiting += targets(path, text)
            files.append(File.generated(config, uri_of(path), content=text))
        else:
            files.append(File.generated(config, uri_of(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Rewrite the links of a page, and bars in code within its tables."""
    uri = page.file.src_uri
    path = path_of(uri)

    def in_site(link: re.Match[str]) -> str:
        name, hash_sign, anchor = link[0].partition("#")
        target = path_to(path, name)
        if target is None:
            return link[0]
        return os.path.relpath(uri_of(target), Path(uri).parent) + hash_sign + anchor

    lines = markdown.splitlines(keepends=True)
    return "".join(
        line if is_code else LINK.sub(in_site, with_bars(line))
        for line, is_code in zip(lines, in_code_blocks(lines), strict=True)
    )


def with_bars(line: str) -> str:
    """Write bars in the code of a table's row as MkDocs does: GitHub needs a backslash there."""
    if not line.startswith("|"):
        return line
    return CODE.sub(lambda code: code[0].replace("\\|", "|"), line)


def targets(path: str, text: str) -> Iterator[str]:
    """Yield the paths in the repository that a document links to."""
    lines = text.splitlines()
    for line, is_code in zip(lines, in_code_blocks(lines), strict=True):
        for link in [] if is_code else LINK.findall(line):
            target = path_to(path, link.partition("#")[0])
            if target is not None:
                yield target


def in_code_blocks(lines: list[str]) -> Iterator[bool]:
    """Yield for each line of a document whether it is part of a code block."""
    inside = False
    for line in lines:
        fence = FENCE.match(line) is not None
        yield inside or fence
        inside ^= fence


def path_to(path: str, link: str) -> str | None:
    """Return the path that a link of a document leads to; None if it is none of the repository."""
    target = (ROOT / path).parent / link
    if not link or "://" in link or not target.exists():
        return None
    readme = target / "README.md"
    return (readme if readme.is_file() else target).resolve().relative_to(ROOT).as_posix()


def uri_of(path: str) -> str:
    """Return where a path of the repository is in the site."""
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    if (ROOT / path).is_dir():
        return f"{OUTSIDE}{path}/index.md"
    shown = (ROOT / path).suffix in LANGUAGES
    return f"{OUTSIDE}{path}.md" if shown else f"{OUTSIDE}{path}"


def path_of(uri: str) -> str:
    """Return the path in the repository of a page of the site."""
    if not uri.startswith(OUTSIDE):
        return DOCS + uri
    path = uri.removeprefix(OUTSIDE)
    return path if (ROOT / path).is_file() else path.removesuffix(".md").removesuffix("/index")


def page_text(path: str) -> str:
    """Return the Markdown of a page: a document, a source file in a code block, or a list."""
    whole = ROOT / path
    if whole.is_dir():
        names = sorted(file.name for file in whole.iterdir() if file.is_file())
        rows = [f"- [{name}]({whole.name}/{name})" for name in names if name[0] != "."]
        return "\n".join([f"{HIDDEN}# {path}/", "", *rows, ""])
    text = whole.read_text("utf-8")
    if whole.suffix == ".md":
        return text
    return f"{HIDDEN}# {path}\n\n~~~~~~ {LANGUAGES[whole.suffix]}\n{text}\n~~~~~~\n"
