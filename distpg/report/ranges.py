"""Warnings about the values of observations, once for each leaf."""

from collections.abc import Callable

from distpg.iteration import Iteration


class RangeWarnings:
    """Says what the slots found in their first rollouts."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Take what to call with a warning."""
        self.say = say
        self.said = set[str]()

    def on_iteration(self, iteration: Iteration) -> None:
        """Say the warnings of leaves that had none so far."""
        for slot in iteration.collection.stats:
            for leaf, warning in slot.range_warnings.items():
                if leaf not in self.said:
                    self.said.add(leaf)
                    self.say(f"warning: {warning}")
