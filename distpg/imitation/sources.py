"""Whom to imitate: the policy of a run, or a function; `dataset.py` has what was recorded."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distpg.envs.make import EnvSource, make_vector_env
from distpg.errors import InputError, RunError, prefix_errors
from distpg.imitation.dataset import load_dataset
from distpg.imitation.expert import Demonstrator, Expert, ImitationContext, check_spaces
from distpg.imitation.labels import ExpertPolicy, RecurrentRelabeler, as_it_is, ask, query_relabeler
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.policy.file import PolicyFile
from distpg.policy.play import SavedPolicy
from distpg.records import Rollout
from distpg.rollout.in_process import InProcessWorkers
from distpg.run.directory import RunDir
from distpg.run.loading import load_policy_file
from distpg.run.preflight import closing
from distpg.user_code import format_user_error, import_object

DATASET_ID = re.compile(r"[\w./-]+-v\d+")


class PolicyExpert:
    """The policy of a run. Its labels are its most likely actions.

    In its own rounds it draws actions, as in training, so that it also shows the way back from a
    little off its own (Laskey et al. 2017 add noise for that).
    """

    by_workers = True

    def __init__(self, name: str, file: PolicyFile, encoder: str | None) -> None:
        """Take the policy, and the encoder of its run's settings."""
        self.name = name
        self.file = file
        self.encoder = encoder
        self.policy = SavedPolicy(file, encoder=encoder)

    def act(self, obs: Any) -> Any:
        """Choose the most likely actions."""
        return self.policy.act(obs)

    def check(self, source: EnvSource, student: Policy) -> None:
        """Refuse other spaces than its own."""
        check_spaces(self.name, (self.file.obs_spec, self.file.action_spec), source, student)

    def demonstrator(self, context: ImitationContext) -> Demonstrator:
        """Have rollout workers play it."""
        parts = {**dataclasses.asdict(self.file.architecture), "encoder": self.encoder}
        # what compiles is the student's learner
        workers = context.make_workers(dataclasses.replace(context.config, **parts, compile=False))
        return Demonstrator(workers, self.relabeler(context), self.file.weights)

    def relabeler(self, context: ImitationContext) -> Callable[[Rollout], Rollout]:
        """Ask about each state by itself, or where it has a memory follow the episodes."""
        if self.policy.policy.recurrent_state_size:
            return RecurrentRelabeler(self.policy.policy, context.student)
        return query_relabeler(self, context.student)


class FunctionExpert:
    """A function from a batch of observations to one of actions. Its labels are what it does."""

    by_workers = False

    def __init__(self, name: str, function: Callable[[Any], Any]) -> None:
        """Take the function."""
        self.name = name
        self.function = function

    def act(self, obs: Any) -> Any:
        """Call it.

        Raises:
            RunError: it raised.
        """
        try:
            return self.function(obs)
        except Exception as error:
            raise RunError(f"the expert {self.name} raised {format_user_error(error)}") from error

    def check(self, source: EnvSource, student: Policy) -> None:
        """Ask it once."""
        with closing(make_vector_env(source, 1)) as envs:
            try:
                ask(self, student, envs.reset([0]))
            except RunError as error:
                raise InputError(f"--expert: {error}") from error

    def relabeler(self, context: ImitationContext) -> Callable[[Rollout], Rollout]:
        """Ask about each state."""
        return query_relabeler(self, context.student)

    def demonstrator(self, context: ImitationContext) -> Demonstrator:
        """Have it play in this process, where it is."""
        workers = InProcessWorkers(context.config, context.source)
        for slot in workers.slots:
            slot.policy = ExpertPolicy(self, context.student, Architecture.of(context.config))
        return Demonstrator(workers, as_it_is)


def find_expert(expert: str | Path | Callable[[Any], Any], say: Callable[[str], None]) -> Expert:
    """Take a function as it is; look up a run, module:function, or a dataset.

    Args:
        expert: Whom to imitate.
        say: Is told what is wrong with newer checkpoints of the run.

    Raises:
        InputError: it is none of them, or cannot be read.
    """
    if callable(expert):
        name = getattr(expert, "__qualname__", type(expert).__qualname__)
        return FunctionExpert(f"<{name}>", expert)
    name = str(expert)
    if is_run(name):
        run = RunDir.open(Path(name))
        file, problems = load_policy_file(run)
        for problem in problems:
            say(problem)
        return PolicyExpert(name, file, run.read_config().encoder)
    if ":" in name:
        return function_expert(name)
    if DATASET_ID.fullmatch(name):
        return load_dataset(name)
    raise InputError(
        f"--expert: {name!r:.200} is no run directory, no module:function, and no dataset such as "
        "mujoco/hopper/expert-v0"
    )


def is_run(name: str) -> bool:
    """Tell whether a run is there."""
    try:
        return bool(name) and RunDir(Path(name)).config.is_file()
    except OSError:
        return False


def function_expert(name: str) -> FunctionExpert:
    """Import an expert given as module:function.

    Raises:
        InputError: there is no such function.
    """
    with prefix_errors(f"--expert {name:.200}"):
        found = import_object(name)
        if not callable(found):
            raise InputError(f"it is {found!r:.60}, which is no function")
    return FunctionExpert(name, found)
