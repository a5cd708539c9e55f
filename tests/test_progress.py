"""The counters of a run, by hand."""

import numpy as np

from distpg.progress import Progress
from distpg.records import RolloutStats


def stats(slot: int, returns: list[float], **counts: int) -> RolloutStats:
    return RolloutStats(
        slot=slot,
        env_steps=counts.get("env_steps", 10),
        dropped_steps=counts.get("dropped_steps", 0),
        episode_returns=np.array(returns),
        episode_lengths=np.full(len(returns), 5),
        collect_s=1.0,
        step_s=1.0,
        faulted_steps=counts.get("faulted_steps", 0),
        faults=("the reactor is on fire",) * counts.get("faults", 0),
    )


def test_an_iteration_counts_the_steps_of_all_slots_and_why_others_were_dropped() -> None:
    slots = [
        stats(0, [1.0, 3.0], env_steps=10, dropped_steps=7, faulted_steps=4, faults=2),
        stats(1, [5.0], env_steps=20),
    ]
    progress = Progress().after(slots)
    assert (progress.iteration, progress.env_steps, progress.episodes) == (1, 30, 3)
    assert progress.dropped == {"env_fault": 4, "after_episodes": 3, "anomaly": 0}
    assert (progress.env_faults, progress.last_fault) == (2, "the reactor is on fire")
    assert (progress.batch_return, progress.mean_return, progress.mean_length) == (3, 3, 5)


def test_what_was_rolled_back_or_collected_when_the_run_stopped_is_not_trained_on() -> None:
    progress = Progress().after([stats(0, [])]).after([stats(0, [], env_steps=8)], rolled_back=True)
    assert (progress.iteration, progress.env_steps, progress.rolled_back_updates) == (2, 10, 1)
    stopped = progress.dropping([stats(0, [], env_steps=6, dropped_steps=3)])
    assert stopped.dropped["anomaly"] == 8
    assert stopped.dropped["stopped"] == 9
    assert stopped.dropped_steps == 17
    assert stopped.env_steps == 10


def test_the_mean_return_is_that_of_the_last_100_episodes_and_a_threshold_needs_them_all() -> None:
    assert not Progress().reached(0.0)
    progress = Progress().after([stats(0, [100.0] * 99)])
    assert progress.mean_return == 100
    assert not progress.reached(1.0)
    progress = progress.after([stats(0, [0.0] * 51)])
    # 49 of 100 are left
    assert progress.mean_return == 49
    assert (progress.episodes, len(progress.lengths)) == (150, 100)
    assert progress.reached(49.0)
    assert not progress.reached(49.1)
    assert not progress.reached(None)
