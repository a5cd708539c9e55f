"""How slots get to a worker, and what of a run can be repeated; without Ray's processes."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from distpg.actors import slots as module
from distpg.actors.process import Process
from distpg.actors.recovery import Point, Saved
from distpg.actors.slots import START, Slots
from distpg.errors import RunError
from distpg.rollout.attributes import EnvAttributes
from tests.actors.test_actors import tiny

Call = tuple[Any, ...]


class Method:
    """A method of an actor, which keeps its calls."""

    def __init__(self, name: str, calls: list[Call]) -> None:
        self.name, self.calls = name, calls

    def remote(self, *arguments: Any) -> str:
        self.calls.append((self.name, *arguments))
        return self.name


class Asked:
    """A process whose actor keeps what it is asked for."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.actor = self

    def __getattr__(self, name: str) -> Method:
        return Method(name, self.calls)

    def taken(self) -> list[Call]:
        """Return the calls since the last time, without the attributes of envs."""
        found, self.calls[:] = [*self.calls], []
        return [call[:3] + call[4:] if call[0] == "advance" else call for call in found]


def as_process(asked: Asked) -> Process:
    return cast("Process", asked)


class Run:
    """Three slots at a process."""

    def __init__(self, said: list[str], **changes: Any) -> None:
        self.slots = Slots(tiny(1, num_slots=3, **changes), (), EnvAttributes(), said.append)
        self.process = Asked()
        self.slots.open(as_process(self.process), range(3))
        self.slots.begin(0)
        self.slots.exposes_state = True
        self.process.taken()

    def collect(self, iteration: int, which: Sequence[int] = range(3)) -> None:
        """Have all slots, or some, collect at the process."""
        slots = self.slots
        slots.weights[iteration] = f"weights {iteration}"
        slots.stands |= dict.fromkeys(which, (as_process(self.process), iteration + 1))
        slots.moved_on(which, f"states {iteration}", iteration + 1)
        slots.next_iteration = iteration + 1


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the user is told, in full."""
    lines: list[str] = []
    yield lines
    assert lines == []


def bring(run: Run, process: Asked, slots: Sequence[int], iteration: int) -> int:
    """Return how many rollouts are repeated."""
    _, repeated = run.slots.bring(as_process(process), slots, iteration)
    return repeated


def test_a_slot_that_is_there_is_not_made_again_and_one_that_moves_is_dropped_where_it_was(
    said: list[str],
) -> None:
    run, other = Run(said), Asked()
    run.collect(0)
    assert bring(run, run.process, [0, 1, 2], 1) == 0
    assert run.process.taken() == []
    assert bring(run, other, [2], 1) == 0
    assert run.process.taken() == [("drop", [2])]
    assert other.taken() == [("host", [(2, 0, 0, 2)], "states 0")]
    # it stands there now
    assert bring(run, other, [2], 1) == 0
    assert other.taken() == []


def test_lost_slots_repeat_the_rollouts_since_the_copy_with_the_weights_of_then(
    said: list[str],
) -> None:
    run, other = Run(said), Asked()
    for iteration in range(3):
        run.collect(iteration)
    run.slots.keep(Saved(3, "learner", run.slots.points))
    assert not run.slots.weights
    run.collect(3)
    run.collect(4, [0, 1])
    # the states of 0 and 2 are gone, of which 2 has not collected iteration 4
    run.slots.fall_back([0, 2])
    assert run.slots.points == [
        Point(3, "states 2", 0),
        Point(5, "states 4", 1),
        Point(3, "states 2", 2),
    ]
    assert bring(run, other, [2], 4) == 1
    assert other.taken() == [
        ("host", [(2, 0, 0, 2)], "states 2"),
        ("advance", "weights 3", 3, [2]),
    ]
    assert bring(run, other, [0, 1], 5) == 2
    assert other.taken() == [
        ("host", [(0, 0, 0, 0), (1, 0, 1, 1)], "states 2", "states 4"),
        ("advance", "weights 3", 3, [0]),
        ("advance", "weights 4", 4, [0]),
    ]


def test_slots_that_move_back_begin_where_all_stood_then(said: list[str]) -> None:
    run = Run(said)
    run.collect(0)
    before = run.slots.points
    run.collect(1)
    run.slots.move_back([1], before)
    assert [point.iteration for point in run.slots.points] == [2, 1, 2]
    # also at the process where it stood later
    assert bring(run, run.process, [1], 1) == 0
    assert run.process.taken() == [("host", [(1, 0, 0, 1)], "states 0")]
    assert before == [Point(1, "states 0", slot) for slot in range(3)], "it was changed"


def test_whole_episodes_need_nothing_of_the_iterations_before(said: list[str]) -> None:
    run, other = Run(said, algo="reinforce", num_epochs=1), Asked()
    run.collect(0)
    run.collect(1)
    run.slots.exposes_state = False
    run.slots.fall_back([0])
    assert run.slots.repeatable()
    assert bring(run, other, [0], 2) == 0
    assert other.taken() == [("host", [(0, 0, -1, 0)])]


def test_what_tells_no_state_begins_again_with_the_next_incarnation() -> None:
    said: list[str] = []
    run, other = Run(said), Asked()
    run.collect(0)
    run.slots.exposes_state = False
    assert not run.slots.repeatable()
    assert bring(run, other, [1], 1) == 0
    assert other.taken() == [("host", [(1, 1, -1, 0)])]
    assert said == ["slot 1 restarts with fresh envs: incarnation 1"]


def test_a_slot_whose_last_copy_is_lost_ends_the_run() -> None:
    run = Run([])
    run.collect(0)
    run.slots.keep(Saved(1, "learner", run.slots.points))
    with pytest.raises(RunError, match="what slot 2 could go on from is lost; resume the run"):
        run.slots.fall_back([2])


def test_a_resumed_run_begins_at_any_iteration_with_the_states_of_its_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def put(value: Any) -> str:
        return "begun"

    monkeypatch.setattr(module.ray, "put", put)
    states: Any = [None, None]
    slots = Slots(tiny(1), states, EnvAttributes(), print)
    process = Asked()
    slots.open(as_process(process), [0, 1])
    assert process.taken() == [("host", [(0, 0, 0, 0), (1, 0, 0, 1)], "begun")]
    assert slots.next_iteration == START
    slots.begin(7)
    assert slots.points == slots.saved == [Point(7, "begun", 0), Point(7, "begun", 1)]
    assert slots.bring(as_process(process), [0, 1], 7) == ([], 0)
