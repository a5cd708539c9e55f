"""The result of a check."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["PASS", "WARN", "FAIL"]
"""WARN: the run works but is degraded. FAIL: it does not start, or trains on wrong data."""


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    status: Status
    name: str
    found: str
    advice: str = ""
    """What to do about a WARN or FAIL; empty for a PASS."""
