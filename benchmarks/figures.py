"""Check figures: documents against results/, and results/ against new runs of the short recipes.

    python -m benchmarks.figures            trains for some minutes
    python -m benchmarks.figures --saved    compares documents with results/ only

Prints what differs, and then exits with 1. Env steps to a return are deterministic on one CPU type
and with one version of torch; seconds are not compared.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from benchmarks.results import FOLDER, ROOT, hardware, run_recipe
from distpg.proof.estimators import combinations, variations

SHORT = ("cartpole-ppo", "cartpole-reinforce", "cartpole-a2c")
"""Recipes whose saved runs are trained again."""


@dataclass(frozen=True)
class Figure:
    """What a line of a document must contain; the line is found by a part of it."""

    file: str
    part: str
    text: str


def load(name: str) -> dict[str, Any]:
    """Read results/NAME.json."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def span(values: Iterable[float], form: Callable[[float], str]) -> str:
    """Write the range of some values."""
    values = list(values)
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"


def rounded(count: float) -> str:
    """Write 60149 as 60k, and 1000472 as 1M."""
    return f"{count / 1e6:.3g}M" if count >= 1e6 else f"{count / 1000:.0f}k"


def solved(recipe: str) -> str:
    """Write in how many steps and seconds the seeds of a recipe reached its return."""
    content = load(f"learning-{recipe}")
    runs, timing = content["runs"], content.get("timing", content)
    count = sum(run["stop_reason"] == "solved" for run in runs)
    steps = span((run["env_steps"] for run in runs), rounded)
    seconds = span((run["wall_s"] for run in timing["runs"]), "{:.0f}".format)
    date = "" if timing is content else f" ({content['date']})"
    return f"{count} of {len(runs)} seeds, {steps} env steps{date}, {seconds} s ({timing['date']})"


def reached(content: dict[str, Any]) -> str:
    """Write the return of runs after their env steps, rounded down to 10k."""
    runs = content["runs"]
    returns = [run["episode_return_mean"] for run in runs]
    steps = rounded(min(run["env_steps"] for run in runs) // 10_000 * 10_000)
    mean, spread = f"{sum(returns) / len(returns):,.0f}", span(returns, "{:,.0f}".format)
    seeds = f"{len(runs)} seeds: {spread}"
    return f"return {mean} ({seeds}) after {steps} steps ({content['date']})"


def rate(content: dict[str, Any]) -> str:
    """Write the speed of runs."""
    return f"{span((run['env_steps_per_s'] for run in content['runs']), '{:,.0f}'.format)} steps/s"


def of_table(table: str, task: str) -> dict[str, Any]:
    """Read the runs of a task of a table, as those of a recipe."""
    found = load(f"tables/{table}")["tasks"][task]["runs"]
    runs = [
        {
            "episode_return_mean": run["measures"]["last_100_training_episodes"],
            "env_steps": run["env_steps"],
        }
        for run in found
    ]
    return {"date": max(run["date"] for run in found), "runs": runs}


def measured() -> dict[str, str]:
    """Write what each recipe reached, as `distpg recipes` prints it."""
    rows = {recipe: reached(content) for recipe, content in load("algorithms").items()}
    for recipe in (*SHORT, "lunarlander-ppo", "pendulum-ppo"):
        rows[recipe] = solved(recipe)
    rows["halfcheetah-ppo"] = reached(of_table("less_noise", "HalfCheetah-v5"))
    pong = load("learning-pong-ppo-20k")
    rows["pong-ppo"] = f"{rate(pong)} over the first 20k ({pong['date']})"
    return rows


def figures() -> Iterator[Figure]:
    """List the figures of README.md and of the recipes, as results/ and the code have them."""
    first = load("learning-cartpole-ppo")["runs"][0]
    end = f"mean return {first['episode_return_mean']:.1f} after {first['env_steps']:,} env steps"
    yield Figure("README.md", "solved: ", end)
    estimators = sum(1 for _ in chain(combinations(), variations()))
    yield Figure("README.md", "`distpg verify`", f"{estimators} of {estimators} estimators")
    for recipe in (*SHORT, "lunarlander-ppo"):
        yield Figure("README.md", f"`distpg train --config {recipe}`", solved(recipe))
    for recipe, text in measured().items():
        yield Figure("distpg/config/measured.toml", f"{recipe} = ", f'= "{text}"')


def misquoted(claims: Iterable[Figure]) -> Iterator[str]:
    """Report documents that say something else, or that have no such line."""
    for claim in claims:
        lines = (ROOT / claim.file).read_text("utf-8").splitlines()
        found = [line for line in lines if claim.part in line]
        if not found:
            yield f"{claim.file}: no line contains {claim.part!r}"
        for line in found:
            if claim.text not in line:
                yield f"{claim.file}: {line!r} should contain {claim.text!r}"


def changed(recipe: str, saved: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Report what of a run is not as it was saved."""
    return [
        f"{recipe}, seed {saved['seed']}: {name} is {new[name]}, results/ has {saved[name]}"
        for name in ("stop_reason", "env_steps")
        if saved[name] != new[name]
    ]


def retrained() -> Iterator[str]:
    """Train the short recipes again; report what is not as it was saved."""
    here = hardware()
    for recipe in SHORT:
        content = load(f"learning-{recipe}")
        for name in ("cpu", "versions"):
            if here[name] != content[name]:
                print(f"{recipe}: {name} is {here[name]}, was {content[name]}; steps may differ")
        for saved in content["runs"]:
            # workers change the speed only
            new = run_recipe(recipe, saved["seed"], ["--num-workers", "0"])
            print(f"{recipe}, seed {saved['seed']}: {new['env_steps']:,} env steps", flush=True)
            yield from changed(recipe, saved, new)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; return 1 if something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saved", action="store_true", help="train nothing")
    options = parser.parse_args(arguments)
    problems = [*misquoted(figures()), *(() if options.saved else retrained())]
    print("\n".join(problems) or "all figures agree")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
