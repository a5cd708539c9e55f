"""Documents: links and paths lead somewhere, the five files are short, no phrase is banned."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/*.md", "*/README.md") for path in ROOT.glob(pattern)
)
STORY = (
    "rollout/worker.py",
    "gradient/advantages.py",
    "gradient/losses.py",
    "learner/learner.py",
    "learner/minibatch.py",
)
BANNED = (
    "what is no number",
    "taken back",
    "a Ray of our own",
    "tells its state",
    "afresh",
    "of the user's",
    "policy that acted",
    "names nothing",
    "comes to what",
)

every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes of a document's headings."""
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken_links(document: Path) -> Iterator[str]:
    """List the relative links that lead nowhere."""
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            yield link


def lost_paths(text: str) -> list[str]:
    """List the files that a document names with their folder, and that do not exist."""
    paths = re.findall(r"\b(?:distpg|benchmarks|tests|docs|examples)/[\w./-]*\.\w+", text)
    return [path for path in paths if not (ROOT / path).exists()]


def banned(text: str) -> list[str]:
    """List the banned phrases of a text, also if they span lines."""
    flat = " ".join(text.split())
    return [phrase for phrase in BANNED if phrase in flat]


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    assert list(broken_links(document)) == []


@every_document
def test_files_that_are_named_exist(document: Path) -> None:
    assert lost_paths(document.read_text("utf-8")) == []


def test_modules_in_the_tables_of_the_architecture_exist() -> None:
    rows = [x for x in (ROOT / "ARCHITECTURE.md").read_text("utf-8").splitlines() if x[:1] == "|"]
    names = [name for row in rows for name in re.findall(r"`([\w/]+(?:\.py|/))`", row)]
    assert len(names) > 80
    folders = (ROOT / "distpg", ROOT)
    assert [x for x in names if not any((folder / x).exists() for folder in folders)] == []


@every_document
def test_no_banned_phrase(document: Path) -> None:
    assert banned(document.read_text("utf-8")) == []


def test_what_is_looked_for_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# A title, here\n[a](#a-title-here) [b](#b) [c](c.md) [d](https://d)\n")
    assert list(broken_links(document)) == ["#b", "c.md"]
    assert lost_paths("`distpg/lost.py`, tests/test_docs.py") == ["distpg/lost.py"]
    assert banned("It starts\nafresh, and is taken\nback.") == ["taken back", "afresh"]


def test_five_files_tell_the_story_in_fewer_than_850_lines() -> None:
    lines = [len((ROOT / "distpg" / name).read_text("utf-8").splitlines()) for name in STORY]
    assert sum(lines) < 850
    for document in ("README.md", "ARCHITECTURE.md"):
        text = (ROOT / document).read_text("utf-8")
        assert "fewer than 850 lines" in " ".join(text.split())
        assert [name for name in STORY if name not in text] == []
