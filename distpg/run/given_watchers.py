"""The watchers that a run is given: by their names, as objects from Python, or by settings."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from distpg.config.calls import read_call
from distpg.config.config import Config
from distpg.config.names import Importable, as_name
from distpg.errors import InputError, prefix_errors
from distpg.iteration import Iteration
from distpg.report.loggers import MLflowLogger, WandbLogger
from distpg.report.stopping import StopAfter, StopAtEvaluation
from distpg.report.watcher import Watcher
from distpg.user_code import format_user_error, import_object

AnyWatcher = Watcher | type[Watcher] | Callable[[Iteration], Any]
"""A watcher, its class, or a function in place of `on_iteration`."""
OF_SETTINGS = (StopAfter, StopAtEvaluation, WandbLogger, MLflowLogger)
"""Those that settings make; they ask for no evaluations."""


class FunctionWatcher(Watcher):
    """A function that is called with each iteration."""

    def __init__(self, function: Callable[[Iteration], Any]) -> None:
        """Take the function."""
        self.function = function

    def on_iteration(self, iteration: Iteration) -> Any:
        """Call it."""
        return self.function(iteration)


def find_watchers(written: Sequence[Importable], given: Sequence[AnyWatcher]) -> dict[str, Watcher]:
    """Return the watchers of a run by name: those of `--watcher`, then those from Python.

    Raises:
        InputError: one cannot be made, or is no watcher.
    """
    found: dict[str, Watcher] = {}
    for watcher in (*map(_make, map(as_name, written)), *map(_as_watcher, given)):
        name = name_of(watcher)
        same = sum(other.partition(" #")[0] == name for other in found)
        found[f"{name} #{same + 1}" if same else name] = watcher
    return found


def watchers_of(config: Config, given: Sequence[AnyWatcher]) -> dict[str, Watcher]:
    """Return all watchers of a run by name: of its settings, then those that are given.

    Raises:
        InputError: one cannot be made, or is no watcher.
    """
    own: list[AnyWatcher] = []
    if config.max_seconds is not None:
        own.append(StopAfter(config.max_seconds))
    if config.stop_at_eval_return is not None:
        own.append(StopAtEvaluation(config.stop_at_eval_return))
    found = find_watchers(config.watcher, [*own, *given])
    if config.log != "none":
        # it sees the scalars of all others
        found[config.log] = WandbLogger() if config.log == "wandb" else MLflowLogger()
    return found


def name_of(watcher: Watcher) -> str:
    """Return module:name of what the user wrote."""
    written: Any = watcher.function if isinstance(watcher, FunctionWatcher) else type(watcher)
    named: Any = written if hasattr(written, "__qualname__") else type(written)
    return f"{named.__module__}:{named.__qualname__}"


def _make(written: str) -> Watcher:
    name, kwargs = read_call(written, "--watcher")
    with prefix_errors(f"--watcher: {written:.200}"):
        make: Any = import_object(name)
        if not callable(make):
            raise InputError("it is not a class or a function")
        if not isinstance(make.func if isinstance(make, partial) else make, type):
            if kwargs:
                raise InputError("a function is called with the iteration alone; omit arguments")
            return FunctionWatcher(make)
        try:
            return _as_watcher(make(**kwargs))
        except (Exception, SystemExit) as error:
            raise InputError(f"cannot be made: {format_user_error(error)}") from error


def _as_watcher(given: Any) -> Watcher:
    made = given() if isinstance(given, type) else given
    if isinstance(made, Watcher):
        return made
    if not callable(made):
        raise InputError(
            f"watchers: {given!r:.60} is no distpg.Watcher, nor a function of the iteration"
        )
    return FunctionWatcher(made)
