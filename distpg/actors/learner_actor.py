"""The learner's process: a thin shell around `Learner`.

The driver sees this class too, so what needs torch is imported in the learner's process alone.
"""

from distpg.actors.process import Located
from distpg.config.config import Config
from distpg.iteration import Packages, Placement, Update
from distpg.records import LearnerState, Rollout, Weights
from distpg.spaces import ActionSpec, ObsSpec


class LearnerActor(Located):
    """Hosts the learner on the device that it was given."""

    def __init__(self, config: Config, obs_spec: ObsSpec, action_spec: ActionSpec) -> None:
        """Take what the learner is made of; `placement` has to follow."""
        self.arguments = config, obs_spec, action_spec

    def placement(self) -> Placement:
        """Build the networks; return how updates are computed."""
        from distpg.learner.learner import Learner

        self.learner: Learner = Learner(*self.arguments)
        return self.learner.placement()

    def compile(self, packages: Packages) -> tuple[Packages, list[str]]:
        """Compile the update, or use packages that fit; return them, and what to tell the user."""
        lines: list[str] = []
        return self.learner.compile(packages, lines.append), lines

    def weights(self) -> Weights:
        """Return the current weights."""
        return self.learner.weights()

    def acting_weights(self) -> Weights:
        """Return what the next batch is collected with."""
        return self.learner.acting_weights()

    def update(self, *rollouts: Rollout) -> tuple[Weights, LearnerState, Update]:
        """Improve the policy; rollouts come one by one, so that Ray resolves their references."""
        weights, update = self.learner.update(rollouts)
        return weights, self.learner.state(), update

    def state(self) -> LearnerState:
        """Return everything that the next update depends on."""
        return self.learner.state()

    def load(self, state: LearnerState) -> None:
        """Continue from a state."""
        self.learner.load(state)

    def start_from(self, state: LearnerState) -> None:
        """Take over another run's networks."""
        self.learner.start_from(state)
