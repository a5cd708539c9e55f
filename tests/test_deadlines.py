"""A deadline within another one ends no later than that, and leaves it in force."""

import time
from contextlib import suppress

import pytest

from distpg.errors import LateError
from distpg.signals import deadline


def test_the_outer_deadline_holds_within_the_inner_one() -> None:
    began = time.monotonic()
    with pytest.raises(LateError), deadline(0.2), deadline(60):
        time.sleep(60)
    assert time.monotonic() - began < 30


def wait_twice() -> None:
    with suppress(LateError), deadline(0.1):
        time.sleep(60)
    time.sleep(60)


def test_the_inner_deadline_leaves_the_rest_of_the_outer_one() -> None:
    began = time.monotonic()
    with pytest.raises(LateError), deadline(0.3):
        wait_twice()
    assert 0.3 <= time.monotonic() - began < 30


def test_without_an_outer_deadline_nothing_is_left() -> None:
    with deadline(0.05):
        pass
    time.sleep(0.1)
