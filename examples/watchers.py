"""Three watchers: a curriculum, an end before the time, and a trial that is given up.

python -m examples.watchers
"""

from collections.abc import Mapping

from distpg import Config, Iteration, Response, Watcher, train


class LongerPole(Watcher):
    """Lengthens the pole by a tenth whenever the policy balances it."""

    length = 0.5

    def on_iteration(self, iteration: Iteration) -> Response:
        """Set the length for the next rollouts."""
        if (iteration.progress.batch_return or 0) > 150:
            self.length *= 1.1
        scalars = {"curriculum/length": self.length}
        # CartPole computes the latter once
        moment = {"polemass_length": 0.1 * self.length}
        return Response(scalars=scalars, env={"length": self.length, **moment})

    def state(self) -> dict[str, float]:
        """Return what a resumed run goes on from."""
        return {"length": self.length}

    def load(self, state: Mapping[str, float]) -> None:
        """Go on from it."""
        self.length = state["length"]


def when_it_is_certain(iteration: Iteration) -> Response:
    """End the run when the policy has almost stopped to explore."""
    entropy = -iteration.scalars["train/entropy_loss"]
    return Response(stop="certain" if entropy < 0.6 else "")


class GiveUp(Watcher):
    """Ends a trial that is worse, after so many env steps, than the best one was."""

    def __init__(self, env_steps: int, best: float) -> None:
        self.env_steps, self.best = env_steps, best

    def on_iteration(self, iteration: Iteration) -> Response | None:
        """Compare it with the best one."""
        progress = iteration.progress
        behind = (progress.mean_return or -float("inf")) < self.best
        late = progress.env_steps >= self.env_steps
        return Response(stop="pruned") if late and behind else None


def main() -> None:
    """Train with each; CartPole-v1's copies can be set if they are stepped one by one."""
    config = Config(
        env_wrapper=("gymnasium.wrappers:OrderEnforcing",),
        num_workers=0,
        total_steps=20_000,
        learning_rate=1e-3,
    )
    for watcher in (LongerPole, when_it_is_certain, GiveUp(env_steps=10_000, best=100.0)):
        result = train(config, watchers=[watcher], quiet=True).result
        print(f"{result['stop_reason']} after {result['env_steps']:,} env steps")


if __name__ == "__main__":
    main()
