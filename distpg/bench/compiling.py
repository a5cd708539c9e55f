"""Compile a run's update beforehand, so that the run starts at once."""

import time
from collections.abc import Iterator

from distpg.config.config import Config
from distpg.doctor.check import Begin, Check, Report
from distpg.doctor.subject import Subject
from distpg.learner.learner import Learner
from distpg.rollout.closing import closing

NAME = "compile"
DEADLINE_S = 600.0
"""Compiling takes 10 to 40 s on an idle machine."""


def checks(config: Config) -> Iterator[Report]:
    """Compile the update of a configuration, unless that was done before.

    Raises:
        InputError: there is no such environment, or no compiler.
    """
    yield Begin(NAME, DEADLINE_S)
    with closing(Subject(config)) as subject:
        learner = Learner(config, *subject.specs)
    said, began = list[str](), time.perf_counter()
    learner.compile({}, said.append)
    if learner.compiles == "off":
        yield Check("PASS", NAME, "its runs do not compile their update (see --compile)")
    elif not said:
        yield Check("PASS", NAME, "the update was compiled before")
    else:
        seconds = time.perf_counter() - began
        yield Check("PASS", NAME, f"the update is compiled for this machine, in {seconds:.0f} s")
