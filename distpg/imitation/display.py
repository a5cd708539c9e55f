"""What a person sees of an imitation: a line for each round."""

import dataclasses

from distpg.config.config import Config
from distpg.iteration import Iteration
from distpg.report.display import Display


class RoundDisplay(Display):
    """Shows rounds, where a training run shows env steps."""

    def __init__(self, config: Config, expert_rounds: int, rounds: int, *, quiet: bool) -> None:
        """Take how many rounds there are, and in how many the expert acts."""
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
            parts.append(f"off by {scalars['imitation/distance']:.3g}")
        parts.append(f"loss {scalars['train/loss']:.3f}")
        if iteration.evaluation is not None:
            parts.append(f"evaluation {iteration.evaluation.mean_return:.1f}")
        line = "  ".join(parts)
        self.bar.update(self.task, completed=progress.iteration, description=line)
        self.say(line)
