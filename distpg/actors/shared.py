"""One local Ray instance for several runs, each of which is a process of its own."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager

from distpg.actors.cluster import QUIET, cluster_address, environment, local_ray
from distpg.config.config import Config


@contextmanager
def shared_ray(config: Config, num_runs: int, say: Callable[[str], None]) -> Generator[None]:
    """Context manager: a Ray instance that runs join which start in processes of this one.

    Nothing is started if they join a cluster.

    Args:
        config: The settings of each run.
        num_runs: How many there are at a time.
        say: Called with a line of progress.

    Raises:
        InputError: this machine has too little memory, or Ray cannot be restricted to loopback.
        RunError: Ray's processes did not start.
    """
    if cluster_address(config) is not None:
        yield
        return
    with environment(QUIET), local_ray(config, say, num_runs):
        import ray

        before = os.environ.get("RAY_ADDRESS")
        os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        try:
            yield
        finally:
            del os.environ["RAY_ADDRESS"]
            if before is not None:
                os.environ["RAY_ADDRESS"] = before
