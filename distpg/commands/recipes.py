"""`recipes`: list the configurations that ship with the package, and what they reached."""

import json
from dataclasses import asdict, dataclass

from distpg.config.files import load_config, measurements, recipes

FOOTER = "Measured on 2 cores without a GPU. See a recipe's settings with config --config RECIPE."


@dataclass(frozen=True, kw_only=True)
class RecipesFlags:
    """List the recipes that --config accepts by name, with task and measured result."""

    json: bool = False
    """Print one JSON array."""


@dataclass(frozen=True)
class Recipe:
    """A configuration that ships with the package."""

    recipe: str
    algo: str
    task: str
    measured: str | None
    """What it reached, or None if it has not been measured."""


def main(flags: RecipesFlags, started: float) -> int:
    """Run the sub-command; return its exit code."""
    shipped = [describe(name) for name in recipes()]
    if flags.json:
        print(json.dumps([asdict(recipe) for recipe in shipped]))
        return 0
    print(f"{'recipe':19} {'task':23} measured")
    for recipe in shipped:
        print(f"{recipe.recipe:19} {recipe.task:23} {recipe.measured or 'not measured'}")
    print(FOOTER)
    return 0


def describe(name: str) -> Recipe:
    """Return a recipe's task, from its settings, and its measured result."""
    config = load_config(name)
    if config.stop_at_return is None:
        task = f"{config.env_id}, {config.total_steps / 1e6:g}M steps"
    else:
        task = f"{config.env_id} to {config.stop_at_return:g}"
    return Recipe(name, config.algo, task, measurements().get(name))
