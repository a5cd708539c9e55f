"""A prediction appears beside the measurement of the batch that came after it."""

import numpy as np
import pytest

from distpg.iteration import Update
from distpg.progress import Progress
from distpg.records import RolloutStats
from distpg.report.improvement import Improvement
from tests.iterations import iteration_of

PREDICTED = "gradient/predicted_improvement"
MEASURED = "gradient/measured_improvement"
LIMIT = "gradient/improvement_limit"


def stats(scores: list[float], lengths: list[int]) -> RolloutStats:
    return RolloutStats(
        slot=0,
        env_steps=100,
        dropped_steps=0,
        episode_returns=np.array(scores),
        episode_lengths=np.array(lengths),
        collect_s=1.0,
        step_s=1.0,
    )


def gains(gain: float, kl_term: float) -> Update:
    return Update({"train/loss": 1.0}, surrogate_gain=gain, kl_term=kl_term)


def test_a_step_s_gain_becomes_an_episode_s_and_waits_for_the_next_batch() -> None:
    watcher, progress = Improvement(), Progress()
    progress = progress.after([stats([10.0, 20.0], [30, 50])])
    assert watcher.on_iteration(iteration_of(progress, update=gains(0.1, 0.01))) == {}
    progress = progress.after([stats([18.0], [40])])
    found = watcher.on_iteration(iteration_of(progress, update=Update({"train/loss": 2.0})))
    # mean length 40; scores went from 15 to 18
    assert found == pytest.approx({PREDICTED: 4.0, LIMIT: 16.0, MEASURED: 3.0})
    progress = progress.after([stats([9.0], [40])])
    assert watcher.on_iteration(iteration_of(progress, update=Update({"train/loss": 3.0}))) == {}


@pytest.mark.parametrize("silent", [0, 1])
def test_where_no_episode_finished_there_is_nothing_to_compare(silent: int) -> None:
    watcher, progress = Improvement(), Progress()
    batches = [stats([5.0], [10]), stats([6.0], [10])]
    batches[silent] = stats([], [])
    for batch, update in zip(batches, (gains(1.0, 1.0), Update({})), strict=True):
        progress = progress.after([batch])
        assert watcher.on_iteration(iteration_of(progress, update=update)) == {}
