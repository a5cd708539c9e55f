"""SBX's PPO (Stable-Baselines3's in JAX), trained once; prints its figures as a line of JSON.

.venv-peers/jax/bin/python -m benchmarks.peers.sbx_ppo --env HalfCheetah-v5 --normalize
"""

from typing import Any

import torch
from flax import linen
from sbx import PPO

from benchmarks.peers import work
from benchmarks.peers.sb3_ppo import Watch, make_env


class Updates:
    """Counts the minibatches that SBX learns from."""

    def __init__(self) -> None:
        self.count = 0
        self.update = PPO._one_update
        PPO._one_update = staticmethod(self._counted)

    def _counted(self, *arguments: Any, **settings: Any) -> Any:
        self.count += 1
        return self.update(*arguments, **settings)


def main() -> None:
    """Train once."""
    parser = work.parser(__doc__)
    parser.set_defaults(atari=False, subproc=False)
    options = parser.parse_args()
    if options.threads:
        # of what Stable-Baselines3 leaves to torch; XLA has its own
        torch.set_num_threads(options.threads)
    model = PPO(
        "MlpPolicy",
        make_env(options),
        n_steps=options.n_steps,
        batch_size=options.minibatch,
        n_epochs=options.epochs,
        learning_rate=options.lr,
        gamma=options.gamma,
        gae_lambda=options.lam,
        seed=options.seed,
        policy_kwargs={"net_arch": [64, 64], "activation_fn": linen.tanh},
    )
    watch = Watch(options.solve, Updates())
    model.learn(options.steps, callback=watch)
    watch.iterations.report("sbx", solved=watch.solved, final_return=watch.mean_return())


if __name__ == "__main__":
    main()
