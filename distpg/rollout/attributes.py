"""What watchers set in the environments, and from which iteration on."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

NOTHING: Mapping[str, Any] = MappingProxyType({})
"""No values."""
KEPT = 100
"""Iterations whose values are kept one by one, since rollouts may be collected again."""


class EnvAttributes:
    """Values of attributes, each from the rollouts of one iteration on.

    A rollout's values depend on its iteration alone, so that one that is collected again, on
    another worker or in a resumed run, comes out the same.
    """

    def __init__(
        self,
        changes: Sequence[tuple[int, Mapping[str, Any]]] = (),
        evaluation: Mapping[str, Any] | None = None,
    ) -> None:
        """Take changes in the order of their iterations, and the values of evaluations."""
        self.changes = [(first, dict(values)) for first, values in changes]
        self.evaluation = dict(evaluation or {})
        """Of the envs of the next evaluation, which has no others."""

    def set(self, first: int, values: Mapping[str, Any]) -> None:
        """Set values from the rollouts of iteration `first` on, which have not begun."""
        if values:
            self.changes = [*self._merged(first - KEPT), (first, dict(values))]

    def at(self, iteration: int) -> dict[str, Any]:
        """Return the values in the rollouts of an iteration."""
        found: dict[str, Any] = {}
        for first, values in self.changes:
            found |= values if first <= iteration else {}
        return found

    def _merged(self, until: int) -> list[tuple[int, dict[str, Any]]]:
        later = [(first, values) for first, values in self.changes if first > until]
        now = self.at(until)
        return [(until, now), *later] if now else later

    def to_json(self, iteration: int) -> dict[str, Any]:
        """Return what the rollouts from an iteration on depend on, as JSON values."""
        return {"changes": self._merged(iteration), "evaluation": dict(self.evaluation)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: this is something else.
        """
        changes = [(int(first), dict(found)) for first, found in values["changes"]]
        read = cls(changes, dict(values["evaluation"]))
        if not all(isinstance(name, str) for _, found in changes for name in found):
            raise ValueError("an attribute has no name")
        return read
