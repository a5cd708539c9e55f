"""A worker that is slower than the others is named, counted, and waited for."""

import time
from pathlib import Path
from typing import Any

import pytest

from distpg.seeding import RNG, rng_seeds
from tests.environments import Stepped
from tests.faults.injection import FaultyWithState
from tests.faults.test_processes import policy_content, run, undisturbed
from tests.test_run import read_events

pytestmark = pytest.mark.thorough

SLOT, SLOWLY_S = 1, 0.01
SEEDS = rng_seeds(RNG.ENV, 0, SLOT, 0, 0, count=2)
"""Those that the envs of the slot are reset with at first."""


class Slow(FaultyWithState):
    """Takes its time over every step, in one slot."""

    slow = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.slow = self.slow or (self.kind == "slow" and seed in SEEDS)
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Stepped:
        if self.slow:
            time.sleep(SLOWLY_S)
        return super().step(action)


@pytest.mark.usefixtures("callers_ray")
def test_a_slow_slot_names_its_worker_and_changes_nothing_else(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path, Slow)
    outcome = run(tmp_path / "run", Slow, num_workers=2, env_kwargs={"kind": "slow"})
    assert policy_content(outcome) == policy_content(expected)
    result, events = outcome.result, read_events(outcome.run_dir)
    slowest = [int(event.value) for event in events.Scalars("workers/slowest")]
    assert slowest == [SLOT] * result["iterations"]
    assert result["stragglers"] == result["iterations"]
    assert events.Scalars("faults/stragglers")[-1].value == result["stragglers"]
    # two envs of 16 steps an iteration; half of it, as the other worker has something to do, too
    others, own = result["barrier_wait_s"]
    assert own == 0
    assert others > 0.5 * 32 * SLOWLY_S * result["iterations"]
