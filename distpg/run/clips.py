"""Clips of the policy in TensorBoard, every few iterations; what goes wrong there is told."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from distpg.errors import InputError, RunError
from distpg.iteration import Iteration
from distpg.rollout.attributes import EnvAttributes
from distpg.rollout.player import PendingClip, Player

if TYPE_CHECKING:
    from distpg.report.tensorboard import TensorBoard

POLL_S = 0.1
"""Interval at which a clip that is waited for is asked for."""


class Clips:
    """Has clips played beside training; one that takes longer than planned delays the next."""

    def __init__(
        self,
        every: int,
        player: Player,
        attributes: EnvAttributes,
        tensorboard: "TensorBoard",
        say: Callable[[str], None],
    ) -> None:
        """Initialize.

        Args:
            every: Iterations between clips.
            player: Who plays them.
            attributes: What watchers set in the environments of evaluations.
            tensorboard: Where they are shown.
            say: Called with a message if one cannot be played.
        """
        self.every = every
        self.player = player
        self.attributes = attributes
        self.tensorboard = tensorboard
        self.say = say
        self.pending: PendingClip | None = None
        self.env_steps = 0
        """Of the policy that is shown in it."""
        self.is_due = False
        self.failed = False
        """Whether a failure was told; only the first one is."""

    def on_iteration(self, iteration: Iteration) -> None:
        """Show a clip that is done, and begin one if it is due."""
        if self.pending is not None and self.pending.is_done():
            self._show(self.pending)
        self.is_due = self.is_due or iteration.progress.iteration % self.every == 0
        if self.is_due and self.pending is None:
            self.is_due = False
            self.env_steps = iteration.progress.env_steps
            self.pending = self.player.clip(iteration.weights(), self.attributes.evaluation)

    def finish(self, stopped: Callable[[], bool]) -> None:
        """Wait for the clip that is being played, if there is one, and show it, unless stopped."""
        while self.pending is not None and not stopped():
            if self.pending.is_done():
                self._show(self.pending)
            else:
                time.sleep(POLL_S)

    def _show(self, pending: PendingClip) -> None:
        self.pending = None
        try:
            self.tensorboard.add_clip(*pending.result(), env_steps=self.env_steps)
        except (InputError, RunError) as error:
            if not self.failed:
                self.say(f"a clip could not be played: {error}")
            self.failed = True
