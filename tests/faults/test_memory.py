"""Memory: a store that is too small for a batch, and nothing that grows in a long run."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import pytest
import ray
from gymnasium import spaces

from distpg import Config, train
from distpg.report.ledger import Ledger
from tests.actors.test_actors import environment
from tests.environments import Info, Stepped
from tests.faults.injection import FaultyWithState
from tests.faults.test_processes import SHAPE, policy_content, undisturbed

pytestmark = pytest.mark.thorough
MB = 2**20
STORE = 80 * MB


@pytest.fixture(scope="module")
def small_ray() -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=STORE,
    )
    yield
    ray.shutdown()


class Wide(gym.Env[Any, Any]):
    """Observes 16 KiB a step."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 255, (16 * 1024,), np.uint8)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        self.count = 0
        return self._observe(), {}

    def step(self, action: Any) -> Stepped:
        self.count += 1
        return self._observe(), 1.0, self.count == 100, False, {}

    def _observe(self) -> Any:
        return np.full(16 * 1024, self.np_random.integers(256), np.uint8)


class Samples:
    """What processes and the object store hold, at some iterations of a run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
        self.by_name: dict[str, list[tuple[int, float]]] = {}
        on_iteration = Ledger.on_iteration

        def look(ledger: Ledger, progress: Any, scalars: Any, weights: object) -> None:
            on_iteration(ledger, progress, scalars, weights)
            if progress.iteration % every == 0:
                self.take(progress.iteration)

        monkeypatch.setattr(Ledger, "on_iteration", look)

    def take(self, iteration: int) -> None:
        mine = psutil.Process()
        used = {"driver": mine.memory_info().rss, "store": STORE - free_in_store()}
        for process in mine.children(recursive=True):
            role = re.search("LearnerActor|RolloutActor", " ".join(process.cmdline()))
            if role:
                name = f"{role[0]} {process.pid}"
                used[name] = process.memory_info().rss
        for name, size in used.items():
            self.by_name.setdefault(name, []).append((iteration, size))

    def growth(self, name: str, first: range, second: range) -> float:
        """Bytes more in the second iterations than in the first, on average."""
        means = [
            np.mean([size for iteration, size in self.by_name[name] if iteration in these])
            for these in (first, second)
        ]
        return float(means[1] - means[0])


def free_in_store() -> float:
    return ray.available_resources().get("object_store_memory", 0)


def test_a_batch_larger_than_the_object_store_is_trained_on(
    small_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = Samples(monkeypatch, every=1)
    settings = {**SHAPE, "num_steps": 1600, "minibatch_size": 1600, "num_epochs": 1}
    batch = 2 * 2 * 1600 * 16 * 1024
    assert batch > STORE
    config: Config = Config(**{**settings, "num_workers": 2, "total_steps": 8 * 6400})
    outcome = train(config, make_env=Wide, run_dir=tmp_path / "run", quiet=True)
    assert outcome.result["trained_steps"] == outcome.result["env_steps"] >= 8 * 6300
    assert outcome.result["worker_restarts"] == outcome.result["learner_restarts"] == 0
    assert samples.growth("store", range(3, 6), range(6, 9)) < 0.1 * STORE


def test_two_thousand_iterations_take_no_more_memory_than_five_hundred(
    small_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = Samples(monkeypatch, every=20)
    # states and weights of 100 KiB and more go through the store, others with their calls
    settings = {**SHAPE, "num_steps": 8, "minibatch_size": 32, "hidden_sizes": (128, 128)}
    config: Config = Config(
        **{**settings, "num_workers": 2, "num_epochs": 1, "total_steps": 2000 * 32}
    )
    outcome = train(config, make_env=FaultyWithState, run_dir=tmp_path / "run", quiet=True)
    assert outcome.result["iterations"] >= 2000
    assert len(samples.by_name) == 5
    for name in samples.by_name:
        growth = samples.growth(name, range(500, 1000), range(1500, 2000))
        # in 1000 iterations
        assert growth < 10 * MB, (name, growth, samples.by_name[name][::10])


LEAKING = """
import sys, time
from pathlib import Path
import numpy as np
from tests.faults.injection import FaultyWithState, fault
from tests.faults.test_processes import run


class Leaks(FaultyWithState):
    def fail(self):
        hoard = []
        while len(hoard) < 50:
            hoard.append(np.ones(2**24))
            time.sleep(0.1)
        raise MemoryError("nobody has minded")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    outcome = run(folder / "run", Leaks, num_workers=2, env_kwargs=fault(folder, "leak", 41))
"""


def test_where_memory_runs_out_the_worker_goes_and_the_learner_stays(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path, FaultyWithState)
    memory = psutil.virtual_memory()
    most = (memory.total - memory.available + 3 * 2**30) / memory.total
    if most > 0.95:
        pytest.skip("there is no memory to run out of")
    monitored = {"RAY_memory_usage_threshold": f"{most:.3f}"}
    done = subprocess.run(
        [sys.executable, "-c", LEAKING, str(tmp_path)],
        env=environment() | monitored,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fired").exists()
    result = json.loads((tmp_path / "run/result.json").read_text())
    # Ray may end more than the one
    assert 1 <= result["worker_restarts"] <= 2
    assert result["learner_restarts"] == 0
    assert result["env_faults"] == 0
    content = (tmp_path / "run/policy.safetensors").read_bytes()
    assert content == policy_content(expected)
