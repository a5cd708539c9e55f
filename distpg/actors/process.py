"""A process of a run: an actor that waits for its place, then starts there."""

from collections.abc import Mapping
from typing import Any

import ray

from distpg.actors.placement import Place, Places, Role


class Located:
    """An actor's class that tells its node; its constructor takes no time."""

    def node(self) -> str:
        """Return the id of the node, once the process has started."""
        return ray.get_runtime_context().get_node_id()


class Process:
    """An actor at a place."""

    def __init__(
        self,
        remote: Any,
        places: Places,
        role: Role,
        *arguments: Any,
        place: Place | None = None,
    ) -> None:
        """Ask for a process of a remote class, at any place of its role or at the given one."""
        self.places = places
        self.place = place or places.take(role)
        options: Mapping[str, Any] = self.place.options
        self.actor: Any = remote.options(**options).remote(*arguments)
        self.placed: Any = self.actor.node.remote()
        """A reference to the id of its node, there once it has started."""
        self.node = ""
        """That id, once it was read."""
        self.ended = False
        self.methods: dict[tuple[str, int], Any] = {}

    def method(self, name: str, *, num_returns: int) -> Any:
        """Return a method of the actor; Ray takes long to make one."""
        key = name, num_returns
        if key not in self.methods:
            self.methods[key] = getattr(self.actor, name).options(num_returns=num_returns)
        return self.methods[key]

    def has_started(self) -> bool:
        """Return whether it has started, or failed to; it does not wait."""
        return bool(ray.wait([self.placed], timeout=0)[0])

    def end(self) -> None:
        """End the process, whatever it does, or stop waiting for its place."""
        if not self.ended:
            self.ended = True
            ray.kill(self.actor)
            self.places.give_back(self.place)
