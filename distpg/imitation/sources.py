"""Experts that can be queried: the policy of a run, or a function. And `find_expert`."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distpg.config.names import Importable, name_of
from distpg.envs.make import EnvSource, make_vector_env
from distpg.errors import InputError, RunError, prefix_errors
from distpg.imitation.dataset import load_dataset
from distpg.imitation.expert import Demonstrator, Expert, ImitationContext, Relabel, check_spaces
from distpg.imitation.labels import (
    ActingExpert,
    RecurrentRelabeler,
    query,
    query_relabeler,
    unchanged,
)
from distpg.policy.actor_critic import Policy
from distpg.policy.file import PolicyFile
from distpg.policy.play import SavedPolicy
from distpg.rollout.closing import closing
from distpg.rollout.in_process import InProcessWorkers
from distpg.run.directory import RunDir
from distpg.run.loading import load_policy_file
from distpg.user_code import format_user_error, import_object

DATASET_ID = re.compile(r"[\w./-]+-v\d+")


class PolicyExpert:
    """The policy of a run. Its labels are the modes of its distributions.

    In its own rounds it samples actions, as in training, so that the labels include how to recover
    from small deviations (Laskey et al. 2017 inject noise for that).
    """

    by_workers = True

    def __init__(self, name: str, file: PolicyFile, encoder: Importable | None) -> None:
        """Build the policy; `encoder` is the custom encoder of its run, if any."""
        self.name = name
        self.file = file
        self.encoder = encoder
        self.policy = SavedPolicy(file, encoder=encoder)

    def act(self, obs: Any) -> Any:
        """Return the modes for a batch of observations."""
        return self.policy.act(obs)

    def check(self, source: EnvSource, student: Policy) -> None:
        """Check that the environment has the policy's spaces."""
        check_spaces(self.name, (self.file.obs_spec, self.file.action_spec), source, student)

    def demonstrator(self, context: ImitationContext) -> Demonstrator:
        """Return rollout workers that act with the expert's weights."""
        parts = {**dataclasses.asdict(self.file.architecture), "encoder": self.encoder}
        # only the learner compiles
        workers = context.make_workers(dataclasses.replace(context.config, **parts, compile="off"))
        return Demonstrator(workers, self.relabeler(context), self.file.weights)

    def relabeler(self, context: ImitationContext) -> Relabel:
        """Return a function that labels each step by itself, or whole episodes if recurrent."""
        if self.policy.policy.recurrent_state_size:
            return RecurrentRelabeler(self.policy.policy, context.student)
        return query_relabeler(self, context.student)


class FunctionExpert:
    """A function from a batch of observations to a batch of actions."""

    by_workers = False

    def __init__(self, name: str, function: Callable[[Any], Any]) -> None:
        """Take the function."""
        self.name = name
        self.function = function

    def act(self, obs: Any) -> Any:
        """Call the function.

        Raises:
            RunError: it raised.
        """
        try:
            return self.function(obs)
        except Exception as error:
            raise RunError(f"the expert {self.name} raised {format_user_error(error)}") from error

    def check(self, source: EnvSource, student: Policy) -> None:
        """Call the function once, with the first observation of the environment."""
        with closing(make_vector_env(source, 1)) as envs:
            try:
                query(self, student, envs.reset([0]))
            except RunError as error:
                raise InputError(f"--expert: {error}") from error

    def relabeler(self, context: ImitationContext) -> Relabel:
        """Return a function that labels each step by itself."""
        return query_relabeler(self, context.student)

    def demonstrator(self, context: ImitationContext) -> Demonstrator:
        """Return rollout workers in this process, since the function may not be picklable."""
        workers = InProcessWorkers(
            context.config,
            context.source,
            attributes=context.attributes,
            make_behaviour=lambda agent, state: ActingExpert(self, agent.policy, state),
        )
        return Demonstrator(workers, unchanged)


def find_expert(expert: str | Path | Callable[[Any], Any], say: Callable[[str], None]) -> Expert:
    """Return the expert for a function, or for the name of a run, a function or a dataset.

    Args:
        expert: A function, a run directory, module:function, or a Minari dataset id or folder.
        say: Called with a message for each newer checkpoint of the run that cannot be read.

    Raises:
        InputError: it is none of them, or cannot be read.
    """
    if callable(expert):
        return FunctionExpert(name_of(expert), expert)
    name = str(expert)
    if is_run_dir(name):
        run = RunDir.open(Path(name))
        file, problems = load_policy_file(run)
        for problem in problems:
            say(problem)
        return PolicyExpert(name, file, run.read_config().encoder)
    if ":" in name:
        return import_expert(name)
    if DATASET_ID.fullmatch(name):
        return load_dataset(name)
    raise InputError(
        f"--expert: {name!r:.200} is not a run directory, a module:function or a dataset such as "
        "mujoco/hopper/expert-v0"
    )


def is_run_dir(name: str) -> bool:
    """Return whether a path is a run directory."""
    try:
        return bool(name) and RunDir(Path(name)).config.is_file()
    except OSError:
        return False


def import_expert(name: str) -> FunctionExpert:
    """Import an expert from module:function.

    Raises:
        InputError: there is no such function.
    """
    with prefix_errors(f"--expert {name:.200}"):
        found = import_object(name)
        if not callable(found):
            raise InputError(f"{found!r:.60} is not a function")
    return FunctionExpert(name, found)
