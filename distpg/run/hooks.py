"""Watchers from users in a run: their answers are carried out, and what they raise names them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, cast

from distpg.envs.make import EnvSource, make_vector_env
from distpg.envs.vector_env import VectorEnv
from distpg.errors import LateError, RunError
from distpg.iteration import Iteration, Response, Scalars
from distpg.report.watcher import RunStart, Watcher
from distpg.rollout.attributes import EnvAttributes
from distpg.run.checkpointer import Checkpointer
from distpg.signals import deadline
from distpg.train import StopCondition
from distpg.user_code import format_user_error

RAISED = (Exception, SystemExit)
"""What a watcher may raise."""


class SpareCopy:
    """A copy of the environment, made when an attribute is first to be set, to try it there."""

    def __init__(self, source: EnvSource, number: int, timeout_s: float) -> None:
        """Take how to make it, the number of the copy, and how long a trial may take."""
        self.source = source
        self.number = number
        self.timeout_s = timeout_s
        self.envs: VectorEnv | None = None

    def check(self, values: Mapping[str, Any]) -> None:
        """Set attributes.

        Raises:
            RunError: they cannot be set, or not in time.
        """
        if not values:
            return
        try:
            with deadline(self.timeout_s):
                self.envs = self.envs or make_vector_env(self.source, 1, first=self.number)
                self.envs.set_attributes(values)
        except LateError:
            raise RunError(
                f"setting {', '.join(values)} in a copy of the environment did not end within "
                f"--phase-timeout {self.timeout_s:g} s"
            ) from None

    def close(self) -> None:
        """Close the copy."""
        if self.envs:
            self.envs.close()


class Hook:
    """Shows iterations to a watcher from a user."""

    def __init__(
        self,
        name: str,
        watcher: Watcher,
        stop: StopCondition,
        attributes: EnvAttributes,
        spare: SpareCopy,
        checkpointer: Checkpointer,
        say: Callable[[str], None],
        *,
        overlap: bool,
    ) -> None:
        """Initialize.

        Args:
            name: In messages and checkpoints; no other watcher of the run has it.
            watcher: What the user wrote.
            stop: Is told that the run shall end.
            attributes: Is told what shall be set in the environments.
            spare: Where that is tried before.
            checkpointer: Is asked for checkpoints.
            say: Called with what a watcher raised that the run can go on without.
            overlap: Whether the next rollouts have begun when watchers see an iteration.
        """
        self.name = name
        self.watcher = watcher
        self.stop = stop
        self.attributes = attributes
        self.spare = spare
        self.checkpointer = checkpointer
        self.say = say
        self.overlap = overlap
        self.errors = 0
        """What it raised so far, unless that ended the run."""
        self.active = False
        """Whether it has begun, and not ended."""

    def on_iteration(self, iteration: Iteration) -> Mapping[str, float]:
        """Show it the iteration, and carry out what it answers."""
        if not self.active:
            return {}
        try:
            response = read_response(self.watcher.on_iteration(iteration))
            self.spare.check({**response.env, **response.eval_env})
        except RAISED as error:
            number = iteration.progress.iteration
            self._failed(f"watcher {self.name}, iteration {number}", error)
            return {}
        self.stop.asked = self.stop.asked or response.stop
        if response.checkpoint:
            self.checkpointer.due = True
        if response.evaluate:
            self.checkpointer.evaluation_asked = True
        self.attributes.set(iteration.progress.iteration + self.overlap, response.env)
        self.attributes.evaluation |= response.eval_env
        return response.scalars

    def begin(self, run: RunStart, state: Mapping[str, Any] | None) -> None:
        """Restore its state, if there is one, and tell it that the run begins.

        Raises:
            RunError: it raised, and the run needs it.
        """
        try:
            if state is not None:
                self.watcher.load(state)
            self.watcher.begin(run)
            self.active = True
        except RAISED as error:
            self._failed(f"watcher {self.name}, at the start", error)
            if self.stop.error:
                raise RunError(self.stop.error) from error

    def state(self) -> dict[str, Any] | None:
        """Return its state as JSON values; None if it raised."""
        try:
            return check_json(dict(self.watcher.state()), "its state")
        except RAISED as error:
            self._failed(f"watcher {self.name}, its state", error)
            return None

    def end(self, result: Mapping[str, Any]) -> None:
        """Tell it that the run is over, if it has begun and was not told."""
        if not self.active:
            return
        self.active = False
        try:
            self.watcher.end(result)
        except RAISED as error:
            self._failed(f"watcher {self.name}, at the end", error)

    def _failed(self, place: str, error: BaseException) -> None:
        message = f"{place}: {format_user_error(error)}"
        if self.watcher.required:
            self.stop.error = self.stop.error or message
        else:
            self.errors += 1
            self.say(f"{message}; the run goes on")


def read_response(returned: Any) -> Response:
    """Return what a watcher returned as a response.

    Raises:
        TypeError, ValueError: it is of another type, or has values of another type.
    """
    if isinstance(returned, Response):
        scalars, stop = read_scalars(returned.scalars), read_text(returned.stop, "stop")
        values = {name: check_json(getattr(returned, name), name) for name in ("env", "eval_env")}
        return replace(returned, scalars=scalars, stop=stop, **values)
    return Response(scalars={} if returned is None else read_scalars(returned))


def read_scalars(scalars: Any) -> Scalars:
    """Return scalars by tag as floats.

    Raises:
        TypeError: they are something else.
    """
    if not isinstance(scalars, Mapping):
        raise TypeError(f"it returned {scalars!r:.60}, not scalars by tag, a Response or None")
    found: Scalars = {}
    for tag, value in cast("Mapping[Any, Any]", scalars).items():
        if not isinstance(tag, str) or not isinstance(value, Real):
            raise TypeError(
                f"it returned {tag!r:.60}: {value!r:.60}, which is no scalar by its tag"
            )
        found[tag] = float(value)
    return found


def read_text(value: Any, what: str) -> str:
    """Return a text.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} is {value!r:.60}; give a reason, as text")
    return value


def check_json(values: Any, what: str) -> Any:
    """Return a mapping as it is read back from JSON.

    Raises:
        TypeError: it is none, or has values that JSON does not have.
        ValueError: it has NaN or inf.
    """
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise TypeError(f"{what} is {values!r:.60}, not values by name")
    return json.loads(json.dumps(dict(values), allow_nan=False))


def states_of(hooks: Sequence[Hook]) -> dict[str, dict[str, Any]]:
    """Return the states of those that have one, by name."""
    states = {hook.name: hook.state() for hook in hooks}
    return {name: state for name, state in states.items() if state}
