"""The package's README: README.md, whose links lead to the repository wherever it is read.

pyproject.toml has everything else, the URL of the repository included.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
RELATIVE = re.compile(r"(?P<picture>!?)\[(?P<words>[^\]]*)\]\((?!\w+://|#)(?P<path>[^)\s]+)\)")


def with_absolute_links(markdown: str, repository: str) -> str:
    """Make the relative links and pictures of a file in the root absolute, as GitHub has them."""

    def absolute(link: re.Match[str]) -> str:
        picture, words, path = link.group("picture", "words", "path")
        is_file = Path(path.partition("#")[0]).suffix
        kind = "raw" if picture else "blob" if is_file else "tree"
        return f"{picture}[{words}]({repository}/{kind}/HEAD/{path})"

    return RELATIVE.sub(absolute, markdown)


project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
readme = (ROOT / "README.md").read_text("utf-8")
setup(
    long_description=with_absolute_links(readme, project["urls"]["Repository"]),
    long_description_content_type="text/markdown",
)
