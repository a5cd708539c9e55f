"""Settings of all tests, and what several of them need."""

from collections.abc import Iterator

import pytest
import ray
from hypothesis import settings

settings.register_profile("distpg", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("distpg")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, one has all those with deadlines; files stay whole."""
    for item in items:
        timed = {"faults", "actors"} & {*item.path.parts}
        item.add_marker(pytest.mark.xdist_group("timed" if timed else str(item.path)))


@pytest.fixture(scope="module")
def callers_ray() -> Iterator[None]:
    """A Ray that the caller of distpg started, with more CPUs than any run here asks for."""
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
