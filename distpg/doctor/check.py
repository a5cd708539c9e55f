"""A check: that it begins, and its result."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["PASS", "WARN", "FAIL"]
"""WARN: the run works but is degraded. FAIL: it does not start, or trains on wrong data."""


@dataclass(frozen=True)
class Begin:
    """A check begins."""

    name: str
    extra_s: float = 0.0
    """Seconds that its deadline is extended by."""


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    status: Status
    name: str
    found: str
    advice: str = ""
    """What to do about a WARN or FAIL; empty for a PASS."""


Report = Begin | Check
