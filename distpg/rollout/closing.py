"""Close environments, and say which did not close in time."""

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar


class HasEnvs(Protocol):
    """A vector env, or an evaluator."""

    def close(self) -> list[str]:
        """Close the envs; return those that did not close in time."""
        ...


class HasWorkers(Protocol):
    """Rollout workers, whose processes may not answer."""

    def close(self, *, hurry: bool = False) -> list[str]:
        """Close the envs, for seconds only with `hurry`; return those that did not close."""
        ...


Envs = TypeVar("Envs", bound=HasEnvs)


@contextmanager
def closing(envs: Envs) -> Generator[Envs]:
    """Context manager: close the envs after the block."""
    try:
        yield envs
    finally:
        report(envs.close(), lambda line: sys.stderr.write(f"{line}\n"))


@contextmanager
def closing_if_raised(envs: HasEnvs) -> Generator[None]:
    """Context manager: close the envs if the block raises."""
    try:
        yield
    except BaseException:
        envs.close()
        raise


def close_slots(slots: Mapping[int, HasEnvs]) -> list[str]:
    """Close the envs of a process, by slot; return those that did not close in time."""
    return [f"slot {slot}, {env}" for slot, envs in slots.items() for env in envs.close()]


def closing_workers(workers: HasWorkers, say: Callable[[str], None]) -> Callable[..., None]:
    """Return an exit callback for an `ExitStack` that closes the envs; in a hurry on Ctrl-C."""

    def close(kind: type[BaseException] | None, *_: object) -> None:
        hurry = kind is not None and issubclass(kind, KeyboardInterrupt)
        report(workers.close(hurry=hurry), say)

    return close


def report(late: list[str], say: Callable[[str], object]) -> None:
    """Say which envs did not close in time, if any."""
    if late:
        say(f"not closed in time, and left: {'; '.join(late)}")
