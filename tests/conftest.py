"""Settings of all tests, and what several of them need."""

import os
from collections.abc import Iterator

import pytest
import ray
from hypothesis import settings

from distpg.actors.cluster import PRIORITY

# as in the Ray that distpg starts; else the other tests would leave actors no CPU time
os.environ.update(PRIORITY)

settings.register_profile("distpg", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("distpg")


@pytest.fixture(scope="module")
def callers_ray() -> Iterator[None]:
    """A Ray that the caller of distpg started, with more CPUs than any run here asks for."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
