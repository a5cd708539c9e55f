"""Memory: a store that is too small for a batch, and nothing that grows in a long run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import pytest
import ray
from gymnasium import spaces

from distpg import train
from tests.actors.test_actors import ROOT, environment
from tests.environments import Info, Stepped
from tests.faults.injection import FaultyWithState
from tests.faults.samples import MB, STORE, references, sampling, start_ray
from tests.faults.test_processes import SHAPE, policy_content, undisturbed
from tests.settings import config_of


def python(*arguments: str, **variables: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment() | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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


def growth(samples: list[tuple[int, float]], first: range, second: range) -> float:
    """Bytes more in the second iterations than in the first, on average."""
    means = [
        np.mean([size for iteration, size in samples if iteration in these])
        for these in (first, second)
    ]
    return float(means[1] - means[0])


@pytest.mark.slow
def test_a_batch_larger_than_the_object_store_is_trained_on(tmp_path: Path) -> None:
    settings = {**SHAPE, "num_steps": 1600, "minibatch_size": 1600, "num_epochs": 1}
    batch = 2 * 2 * 1600 * 16 * 1024
    assert batch > STORE
    config = config_of({**settings, "num_workers": 2, "total_steps": 3 * 6400})
    start_ray()
    try:
        with sampling(1, references) as samples:
            outcome = train(config, make_env=Wide, run_dir=tmp_path / "run", quiet=True)
    finally:
        ray.shutdown()
    assert outcome.result["trained_steps"] == outcome.result["env_steps"] >= 3 * 6300
    assert outcome.result["worker_restarts"] == outcome.result["learner_restarts"] == 0
    counts = [count for _, count in samples["references"]]
    assert len(counts) == outcome.result["iterations"] >= 4
    assert counts[-1] - counts[0] < len(counts) - 1, counts


@pytest.mark.slow
@pytest.mark.timeout(450)
def test_two_thousand_iterations_take_no_more_memory_than_five_hundred(tmp_path: Path) -> None:
    by_name = json.loads(python("-m", "tests.faults.samples", str(tmp_path)))
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["iterations"] >= 2000
    assert len(by_name) == 5
    for name, samples in by_name.items():
        # in 1000 iterations
        more = growth(samples, range(500, 1000), range(1500, 2000))
        assert more < 10 * MB, (name, more, samples[::10])


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


@pytest.mark.thorough
def test_where_memory_runs_out_the_worker_goes_and_the_learner_stays(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path, FaultyWithState)
    memory = psutil.virtual_memory()
    most = (memory.total - memory.available + 4 * 2**30) / memory.total
    if most > 0.95:
        pytest.skip("there is no memory to run out of")
    monitored = {"RAY_memory_usage_threshold": f"{most:.3f}"}
    python("-c", LEAKING, str(tmp_path), **monitored)
    assert (tmp_path / "fired").exists()
    result = json.loads((tmp_path / "run/result.json").read_text())
    # Ray may end more than the one
    assert 1 <= result["worker_restarts"] <= 2
    assert result["learner_restarts"] == 0
    assert result["env_faults"] == 0
    content = (tmp_path / "run/policy.safetensors").read_bytes()
    assert content == policy_content(expected)
