"""The display of an imitation run: one line per round."""

import dataclasses

from distpg.config.config import Config
from distpg.iteration import Iteration
from distpg.report.display import Display
from distpg.report.numbers import format_return


class RoundDisplay(Display):
    """Shows progress in rounds; that of a training run is in env steps."""

    def __init__(self, config: Config, expert_rounds: int, rounds: int, *, quiet: bool) -> None:
        """Take the number of rounds, and in how many of them the expert acts."""
        super().__init__(dataclasses.replace(config, total_steps=rounds), quiet=quiet)
        self.expert_rounds, self.rounds = expert_rounds, rounds

    def on_iteration(self, iteration: Iteration) -> None:
        """Print one round."""
        progress, scalars = iteration.progress, iteration.scalars
        who = "expert" if progress.iteration <= self.expert_rounds else "student"
        parts = [
            f"round {progress.iteration} of {self.rounds}",
            f"the {who} acts",
            f"{progress.env_steps:,} labels",
        ]
        if "imitation/agreement" in scalars:
            parts.append(f"agreed {scalars['imitation/agreement']:.1%}")
        if "imitation/distance" in scalars:
            parts.append(f"distance {scalars['imitation/distance']:.3g}")
        if "imitation/loss" in scalars:
            parts.append(f"loss {scalars['imitation/loss']:.3f}")
        if iteration.evaluation is not None:
            parts.append(f"evaluation {format_return(iteration.evaluation.mean_return)}")
        line = "  ".join(parts)
        self.bar.update(self.task, completed=progress.iteration, description=line)
        self.say(line)
