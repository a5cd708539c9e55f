"""Where the processes of a run are placed: what starts together, in one placement group.

The group has a bundle, of one CPU, for the learner, the evaluation process and the first workers. A
bundle that is lost with its node comes back only if all lost ones fit at once, so a replacement
takes any free CPU instead, as workers do that need not be there from the start.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from distpg.actors import head
from distpg.actors.cluster import spans_machines
from distpg.actors.wait import MIN_START_S
from distpg.config.config import Config
from distpg.errors import InputError, RunError

LEARNER, EVALUATOR, CLIPS = "learner", "evaluation worker", "process of clips"
Role = str | int
"""One of these, or the number of a worker."""
SAY_EVERY_S = 10.0
"""Interval at which a run says what it waits for."""
AT_ONCE_S = 3.0
"""What Ray has for placing a group if resources are free."""
POLL_S = 0.5
DIRECT = {"env_vars": {"RAY_max_direct_call_object_size": "4096"}}
"""Of the processes on a cluster: rollouts go from worker to learner. By default Ray would send
those of up to 100 kB through the driver."""


class Place(NamedTuple):
    """Where a process is started."""

    bundle: int | None
    """Of the placement group; None stands for any free CPU."""
    options: Mapping[str, Any]
    """Of the actor."""


class Places:
    """The places of a run's processes on a cluster."""

    def __init__(
        self, config: Config, say: Callable[[str], None], others: Sequence[Role] = (LEARNER,)
    ) -> None:
        """Ask for nothing yet.

        Args:
            config: Settings of the run.
            say: Called with what the run waits for.
            others: What starts together with the first workers.
        """
        self.config = config
        self.say = say
        self.gpus = learner_gpus(config) if LEARNER in others else 0
        self.common = {"runtime_env": DIRECT} if spans_machines(config) else {}
        """Options of all actors."""
        self.roles = [*others, *range(config.num_first_workers)]
        """Of each bundle."""
        self.group: Any = None
        self.taken: dict[int, Role] = {}
        """By bundle, who is there."""
        self.intact = True
        """Whether no process has ended yet."""

    def reserve(self) -> None:
        """Wait until what starts together has its places.

        Raises:
            InputError: they are not free within `--wait-for-resources`.
        """
        labels = [self._label(role) for role in self.roles]
        # Ray annotates a list of labels, and defaults to None
        self.group = placement_group(
            [self._resources(role) for role in self.roles],
            strategy=self.config.placement.upper(),
            bundle_label_selector=labels if any(labels) else None,  # pyright: ignore[reportArgumentType]
        )
        waiting = Waiting(self, len(self.roles), self.gpus)
        while not self.group.wait(POLL_S):
            if waiting.is_over(AT_ONCE_S):
                raise waiting.refusal()

    def take(self, role: Role) -> Place:
        """Return a place for a process: a bundle of the group, or any free CPU."""
        bundle = self._free_bundle(role)
        resources = {"num_cpus": 1, "num_gpus": self._resources(role).get("GPU", 0), **self.common}
        if bundle is not None:
            self.taken[bundle] = role
            strategy = PlacementGroupSchedulingStrategy(self.group, bundle)
            return Place(bundle, {**resources, "scheduling_strategy": strategy})
        if label := self._label(role):
            return Place(None, {**resources, "label_selector": label})
        return Place(None, {**resources, "scheduling_strategy": "SPREAD"})

    def give_back(self, place: Place) -> None:
        """Note that the process of a place has ended."""
        self.intact = False
        if place.bundle is not None:
            self.taken.pop(place.bundle, None)

    def hand_over(self, place: Place, role: Role) -> Place | None:
        """Give the place of a process that has ended to another, if it is in the group."""
        if place.bundle is None:
            return None
        self.taken[place.bundle] = role
        return place

    def has_free_bundle(self, role: Role) -> bool:
        """Return whether a process would be placed in the group."""
        return self._free_bundle(role) is not None

    def would_fit(self, role: Role, place: Place, other: Role) -> bool:
        """Return whether a process could use the place of another, and a GPU that is free."""
        if place.bundle is not None:
            return self._needs(self.roles[place.bundle]) == self._needs(role)
        mine, gpus = self._label(role), self._resources(role).get("GPU", 0)
        head.reach()
        return mine in ({}, self._label(other)) and ray.available_resources().get("GPU", 0) >= gpus

    def has_room(self, role: Role) -> bool:
        """Return whether a process would be placed at once."""
        head.reach()
        free = ray.available_resources()
        wanted = self._resources(role)
        return self.has_free_bundle(role) or all(free.get(x, 0) >= n for x, n in wanted.items())

    def close(self) -> None:
        """Give back all places of the group, and end what is there."""
        if self.group is not None and not head.head_lost.is_set():
            remove_placement_group(self.group)

    def _free_bundle(self, role: Role) -> int | None:
        """Return a bundle for a process, its own if it can be; None if there is none."""
        placed = range(len(self.roles)) if self.intact else self._placed()
        fitting = [
            bundle
            for bundle in placed
            if bundle not in self.taken and self._needs(self.roles[bundle]) == self._needs(role)
        ]
        own = [bundle for bundle in fitting if self.roles[bundle] == role]
        if self.intact:
            return own[0] if own else None
        return next(iter([*own, *fitting]), None)

    def _placed(self) -> Collection[int]:
        head.reach()
        nodes = placement_group_table(self.group)["bundles_to_node_id"]
        return [bundle for bundle, node in sorted(nodes.items()) if node]

    def _needs(self, role: Role) -> tuple[Mapping[str, float], Mapping[str, str]]:
        return self._resources(role), self._label(role)

    def _resources(self, role: Role) -> dict[str, float]:
        gpus = {"GPU": float(self.gpus)} if role == LEARNER and self.gpus else {}
        return {"CPU": 1.0, **gpus}

    def _label(self, role: Role) -> dict[str, str]:
        config = self.config
        label = config.learner_label if role == LEARNER else config.worker_label
        key, _, value = (label or "").partition("=")
        return {key: value} if key else {}


class Waiting:
    """Says every 10 s for which resources a run waits, and knows when it has waited long enough."""

    def __init__(self, places: Places, cpus: int, gpus: int = 0) -> None:
        """Begin to wait for so many CPUs and GPUs."""
        self.places = places
        self.cpus, self.gpus = cpus, gpus
        self.began = self.said = time.monotonic()

    def seconds(self) -> float:
        """Return for how long."""
        return time.monotonic() - self.began

    def is_over(self, least_s: float = MIN_START_S) -> bool:
        """Say what is missing, if that is due; return whether `--wait-for-resources` is over.

        Args:
            least_s: What is needed also where resources are free.

        Raises:
            RunError: the head node is lost.
        """
        head.reach()
        if time.monotonic() - self.said > SAY_EVERY_S:
            self.said = time.monotonic()
            self.places.say(f"waiting for {self.describe()}")
        return self.seconds() > max(least_s, self.places.config.wait_for_resources)

    def describe(self) -> str:
        """Return what is missing, and what is free."""
        available, config = ray.available_resources(), self.places.config
        free = int(available.get("CPU", 0))
        # that many are free, but not where they are needed, or not yet
        missing = self.cpus - free if free < self.cpus else self.cpus
        words = f"{missing} of {self.cpus} CPUs (free: {free})"
        if self.gpus and available.get("GPU", 0) < self.gpus:
            words += f" and a GPU (free: {available.get('GPU', 0):g})"
        labels = filter(None, (config.learner_label, config.worker_label))
        return words + "".join(f", label {label}" for label in labels)

    def refusal(self) -> InputError:
        """Return the error of a run that cannot begin."""
        limit_s = self.places.config.wait_for_resources
        return InputError(
            f"--wait-for-resources: within {limit_s:g} s the cluster had no place for "
            f"{self.describe()}; use fewer --num-workers, or wait longer"
        )

    def fail(self) -> RunError:
        """Return the error of a run that cannot go on."""
        return RunError(f"no place for {self.describe()} within --wait-for-resources")


def learner_gpus(config: Config) -> int:
    """Return the number of GPUs that the learner asks for."""
    available = ray.cluster_resources().get("GPU", 0) >= 1
    return int(config.device == "cuda" or (config.device == "auto" and available))
