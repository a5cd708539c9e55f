"""The section of docs/results.md on imitation, from the data in results/imitation-TASK.json."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distpg.report.numbers import format_return
from distpg.report.texts import table as markdown_table
from distpg.reproduce.report import with_interval
from distpg.results.statistics import mean_and_interval

FILES = (
    *("imitation-lunarlander", "imitation-lunarlander-episodes"),
    *("imitation-halfcheetah", "imitation-halfcheetah-episodes"),
)
METHODS = ("cloning", "cloning, actions drawn", "DAgger")
HEAD = """\
## imitation

Behavioural cloning against DAgger ([imitation.md](imitation.md)): students of a policy that PPO
trained. Each row has the number of labels at which an evaluation first reached 90%
of the expert's return, and the mean return, with its 95% interval over seeds, after all labels.
"""


def imitation_section(data: Path) -> Iterator[str]:
    """Yield the lines of the section: none if nothing is measured."""
    known = [name for name in FILES if (data / f"{name}.json").exists()]
    if not known:
        return
    contents = {name: json.loads((data / f"{name}.json").read_text()) for name in known}
    yield HEAD
    for name, content in contents.items():
        yield how(name, content)
    yield ""
    head = ("expert", "rounds of", "method", "labels: median", "of each seed", "return at the end")
    rows = [row for content in contents.values() for row in rows_of(content)]
    yield from (*markdown_table(head, rows), "")
    for name in known:
        if not name.endswith("-episodes"):
            yield from (f"![Return over the number of labels]({name}.png)", "")


def how(name: str, content: dict[str, Any]) -> str:
    """Return how, when and with what it was measured."""
    _, task, *whole = name.split("-")
    flags = " --whole-episodes" if whole else ""
    versions = ", ".join(f"{package} {number}" for package, number in content["versions"].items())
    return (
        f"- `python -m benchmarks.imitation {task}{flags}`, {content['date']}: {versions}, "
        f"{content['cores']} cores"
    )


def rows_of(content: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each method."""
    expert, student = content["expert"], content["student"]
    size = "episodes" if "episodes_per_env" in student else "labels"
    count = student["num_envs"] * (1 if size == "episodes" else student["num_steps"])
    for method in METHODS:
        runs = content[method]["runs"]
        found = [run["labels_to_goal"] for run in runs]
        middle = content[method]["median_labels_to_goal"]
        end = mean_and_interval([run["curve"][-1][1] for run in runs])
        yield (
            f"{expert['recipe']}, {format_return(expert['return_of_100_episodes'])}",
            f"{count} {size if count > 1 else size.removesuffix('s')}",
            method,
            "never" if middle is None else f"{middle:,.0f}",
            ", ".join("never" if labels is None else f"{labels:,}" for labels in found),
            with_interval(*end),
        )
