"""The two ways a command ends badly: the user's input, or something that happened to the run."""

from collections.abc import Mapping


class InputError(ValueError):
    """What the user gave cannot be used: one short message that names it; exit code 2."""


class RunError(RuntimeError):
    """The run cannot go on (an env raised, a process died, a deadline passed); exit code 1."""


class ProcessLostError(RunError):
    """A process died or is past its deadline; another may do again what it was doing."""

    def __init__(self, message: str, *, with_its_node: bool = False) -> None:
        """Say whether its machine was lost, which says nothing against the process."""
        super().__init__(message)
        self.with_its_node = with_its_node


class AnomalyError(RunError):
    """An update came to losses, gradients or weights that are no numbers."""

    def __init__(self, message: str, stats: Mapping[str, float]) -> None:
        """Say what it came to, and what else was measured of it."""
        super().__init__(message)
        self.stats = stats


class ObjectLostError(RunError):
    """What a process had made was lost with its machine."""
