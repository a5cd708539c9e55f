"""Settings of all tests, and what several of them need."""

from collections.abc import Iterator

import pytest
import ray
from hypothesis import settings

settings.register_profile("distpg", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("distpg")


@pytest.fixture(scope="module")
def callers_ray() -> Iterator[None]:
    """A Ray that the caller of distpg started, with more CPUs than any run here asks for."""
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
