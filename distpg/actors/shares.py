"""Which worker hosts which slots. Shares are data: the result of a run does not depend on them."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence


def share_out(
    hosts: Mapping[int, int], num_slots: int, num_workers: int, living: Collection[int]
) -> dict[int, int]:
    """Return the worker of each slot, by slot; few slots move.

    A slot is at home at worker `slot % num_workers`, and is there if that worker is. Otherwise it
    stays where it is, unless that worker is gone or would have more than its share.

    Args:
        hosts: The worker of each slot so far.
        num_slots: Number of slots.
        num_workers: Number of workers, once all are there.
        living: The workers that are there; at least one.
    """
    share = math.ceil(num_slots / len(living))
    found = {slot: slot % num_workers for slot in range(num_slots) if slot % num_workers in living}
    counts = loads(found, living)
    for slot in range(num_slots):
        if slot not in found and counts.get(hosts.get(slot, -1), share) < share:
            found[slot] = hosts[slot]
            counts[hosts[slot]] += 1
    homeless = [slot for slot in range(num_slots) if slot not in found]
    return dict(sorted((found | deal(homeless, counts)).items()))


def loads(hosts: Mapping[int, int], living: Collection[int]) -> dict[int, int]:
    """Return how many slots each living worker has."""
    counts = Counter(hosts.values())
    return {worker: counts[worker] for worker in sorted(living)}


def deal(slots: Sequence[int], loads: Mapping[int, int]) -> dict[int, int]:
    """Give each slot to the worker that has the fewest then; return the worker of each."""
    counts, found = dict(loads), dict[int, int]()
    for slot in slots:
        found[slot] = min(counts, key=lambda worker: (counts[worker], worker))
        counts[found[slot]] += 1
    return found
