"""What a run's processes and its object store hold, taken at some of its iterations.

As a script: the samples of 2,000 iterations, as JSON, from a driver that has done nothing else.
"""

import json
import re
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import ray

from distpg import train
from distpg.iteration import Iteration, Scalars
from distpg.report.faults import FaultCounter
from tests.faults.injection import FaultyWithState
from tests.faults.test_processes import SHAPE
from tests.settings import config_of

MB = 2**20
STORE = 80 * MB


def start_ray() -> None:
    """Start a Ray with a small object store."""
    ray.init(
        address="local",
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=STORE,
    )


Samples = dict[str, list[tuple[int, float]]]
"""By the name of what is measured: iterations, with what was found."""


@contextmanager
def sampling(every: int, measure: Callable[[], dict[str, float]]) -> Generator[Samples]:
    """Take samples of the run within, now and then."""
    samples: Samples = {}
    on_iteration = FaultCounter.on_iteration

    def look(counter: FaultCounter, iteration: Iteration) -> Scalars:
        counts, number = on_iteration(counter, iteration), iteration.progress.iteration
        if number % every == 0:
            for name, found in measure().items():
                samples.setdefault(name, []).append((number, found))
        return counts

    with patch.object(FaultCounter, "on_iteration", look):
        yield samples


def sizes() -> dict[str, float]:
    """Bytes that each process of the run holds, and the store."""
    driver = psutil.Process()
    free_in_store = ray.available_resources().get("object_store_memory", 0)
    found: dict[str, float] = {"driver": driver.memory_info().rss, "store": STORE - free_in_store}
    for process in driver.children(recursive=True):
        role = re.search("LearnerActor|RolloutActor", " ".join(process.cmdline()))
        if role:
            found[f"{role[0]} {process.pid}"] = process.memory_info().rss
    return found


def references() -> dict[str, float]:
    """How many objects the driver knows of that it or an actor still holds.

    A store that is full spills, so that its own size does not tell.
    """
    worker: Any = ray._private.worker.global_worker  # pyright: ignore
    return {"references": len(worker.core_worker.get_all_reference_counts())}


def main(folder: Path) -> None:
    start_ray()
    # states and weights of 100 KiB and more go through the store, others with their calls
    settings = {**SHAPE, "num_steps": 8, "minibatch_size": 32, "hidden_sizes": (128, 128)}
    config = config_of({**settings, "num_workers": 2, "num_epochs": 1, "total_steps": 2000 * 32})
    with sampling(20, sizes) as samples:
        train(config, make_env=FaultyWithState, run_dir=folder / "run", quiet=True)
    print(json.dumps(samples))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
