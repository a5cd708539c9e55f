"""The two ways a command ends badly: the user's input, or something that happened to the run."""


class InputError(ValueError):
    """What the user gave cannot be used: one short message that names it; exit code 2."""


class RunError(RuntimeError):
    """The run cannot go on (an env raised, a process died, a deadline passed); exit code 1."""


class ProcessLostError(RunError):
    """A process died or is past its deadline; another may do again what it was doing."""
