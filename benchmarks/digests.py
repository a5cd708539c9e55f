"""SHA-256 of the weights that five short runs end with: a refactor leaves all of them as they are.

The recipes cover PPO, REINFORCE, TRPO, a recurrent policy with action masks, and images. Digests
are equal on one machine only: other CPU types round differently.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import safetensors.numpy

from distpg import Config, load_config, train

SHORT: dict[str, Any] = {"num_workers": 0, "num_slots": 2, "learner_threads": 1}


def configs() -> dict[str, Config]:
    """Return the five runs by name."""
    masked = {"algo": "ppo", "env_id": "Taxi-v4", "recurrent": "gru", "recurrent_size": 32}
    return {
        "ppo": load_config("cartpole-ppo", total_steps=8_000, **SHORT),
        "reinforce": load_config("cartpole-reinforce", total_steps=8_000, **SHORT),
        "trpo": load_config("pendulum-trpo", total_steps=8_000, **SHORT),
        "recurrent, masks": Config(**masked, total_steps=8_000, **SHORT),
        "atari": load_config("pong-ppo", total_steps=2_000, **SHORT),
    }


def digest(policy: Path) -> str:
    """Hash names and bytes of a policy file's tensors."""
    tensors = safetensors.numpy.load_file(policy)
    content = hashlib.sha256()
    for name in sorted(tensors):
        content.update(name.encode() + tensors[name].tobytes())
    return content.hexdigest()


def main() -> None:
    """Train each, and print its digest."""
    for name, config in configs().items():
        with tempfile.TemporaryDirectory() as folder:
            outcome = train(config, run_dir=Path(folder) / "run", quiet=True)
            print(f"{name:18} {digest(outcome.run_dir / 'policy.safetensors')}", flush=True)


if __name__ == "__main__":
    main()
