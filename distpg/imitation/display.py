"""The display of an imitation run: one line per round."""

import dataclasses

from distpg.config.config import Config
from distpg.report.display import Display
from distpg.report.tracker import Tracker


class RoundTracker(Tracker):
    """Counts rounds; a training run counts env steps."""

    def __init__(self, config: Config, expert_rounds: int, rounds: int) -> None:
        """Take the number of rounds, and in how many of them the expert acts."""
        # the target is that of a training that continues from the student
        super().__init__(dataclasses.replace(config, stop_at_return=None), "imitate")
        self.expert_rounds, self.rounds = expert_rounds, rounds

    def counts(self) -> list[str]:
        """Return the round, who acts in it, and the labels so far."""
        number = self.progress.iteration
        who = "expert" if number <= self.expert_rounds else "student"
        labels = f"{self.progress.env_steps:,} labels"
        return [f"round {number} of {self.rounds}", f"the {who} acts", labels]

    def limits(self) -> list[tuple[float, str]]:
        """Return the seconds that are left, if the other rounds take as long as these."""
        done, seconds = self.progress.iteration, self.updated_at - self.began_at
        return [(seconds * (self.rounds - done) / done, "all rounds")] if done else []


class RoundDisplay(Display):
    """Shows progress in rounds, each with a line of its own."""

    line_every_s = 0.0
    lines_above_panel = True

    def __init__(
        self,
        config: Config,
        expert_rounds: int,
        rounds: int,
        *,
        quiet: bool,
        json_lines: bool = False,
    ) -> None:
        """Take the number of rounds, and in how many of them the expert acts."""
        tracker = RoundTracker(config, expert_rounds, rounds)
        super().__init__(config, quiet=quiet, json_lines=json_lines, tracker=tracker)

    def line(self) -> str:
        """Return the line of the last round."""
        scalars = self.tracker.scalars
        parts = self.tracker.counts()
        if "imitation/agreement" in scalars:
            parts.append(f"agreed {scalars['imitation/agreement']:.1%}")
        if "imitation/distance" in scalars:
            parts.append(f"distance {scalars['imitation/distance']:.3g}")
        if "imitation/loss" in scalars:
            parts.append(f"loss {scalars['imitation/loss']:.3f}")
        return "  ".join(parts)
