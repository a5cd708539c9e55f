"""What a check came to."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["PASS", "WARN", "FAIL"]
"""WARN: a run works, but is the worse for it. FAIL: it does not start, or it learns
what is wrong."""


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    status: Status
    name: str
    found: str
    advice: str = ""
    """What to do; empty where it passed."""
