"""The contract's first point: how slots are shared out over processes changes nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.faults.injection import FaultyWithState
from tests.faults.test_processes import policy_content, run

COUNTS = ("iterations", "env_steps", "trained_steps", "dropped_steps", "episodes")


@pytest.fixture(scope="module")
def ray_of_five() -> Iterator[None]:
    ray.init(address="local", num_cpus=5, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=pytest.mark.thorough),
        pytest.param({"algo": "appo"}, marks=pytest.mark.slow),
        pytest.param({"algo": "reinforce"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_four_slots_in_any_number_of_processes_end_in_the_same_weights(
    ray_of_five: None, changes: dict[str, Any], tmp_path: Path
) -> None:
    if changes:
        changes = {**changes, "num_epochs": 1, "minibatch_size": None}
    outcomes = [
        run(
            tmp_path / str(n),
            FaultyWithState,
            num_workers=n,
            num_slots=4,
            total_steps=500,
            **changes,
        )
        for n in (0, 1, 2, 4)
    ]
    assert outcomes[0].result["iterations"] >= 3
    assert len({policy_content(outcome) for outcome in outcomes}) == 1
    for key in COUNTS:
        assert len({outcome.result[key] for outcome in outcomes}) == 1, key
