"""The model card of a policy: README.md, which begins with what the Hub reads."""

from collections.abc import Mapping
from importlib import metadata
from typing import Any

import yaml

from distpg.config.config import Config
from distpg.hub.repository import PREFIX

CARD = """\
---
{head}---

# {algo} on {env_id}

{facts}

```python
from distpg import load_policy

policy = load_policy("{address}")
action = policy.act(obs)  # one observation or a batch; stochastic=True samples
```

[config.toml](config.toml) has all settings: `distpg train --config config.toml` trains with them.
"""


def model_card(repository: str, config: Config, result: Mapping[str, Any]) -> str:
    """Describe a policy, with what a run's result tells of it."""
    algo, env_id = config.algo.upper(), str(config.env_id)
    training, best = result.get("episode_return_mean"), result.get("best_evaluation")
    facts = [f"Trained with distpg {metadata.version('distpg')}, seed {config.seed}."]
    if "env_steps" in result:
        facts.append(f"Environment steps: {result['env_steps']:,}.")
    if training is not None:
        facts.append(f"Mean return of the last 100 episodes of training: {training:.1f}.")
    if best is not None:
        facts.append(
            f"Mean return of the best evaluation: {best['return_mean']:.1f}, after "
            f"{best['env_steps']:,} steps."
        )
    head: dict[str, Any] = {
        "library_name": "distpg",
        "pipeline_tag": "reinforcement-learning",
        "tags": ["reinforcement-learning", "deep-reinforcement-learning", config.algo, env_id],
    }
    if training is not None:
        head["model-index"] = [{"name": algo, "results": [task_of(env_id, training)]}]
    return CARD.format(
        head=yaml.safe_dump(head, sort_keys=False),
        algo=algo,
        env_id=env_id,
        facts="\n".join(facts),
        address=PREFIX + repository,
    )


def task_of(env_id: str, mean_return: float) -> dict[str, Any]:
    """Return an entry of the Hub's tables of results."""
    return {
        "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
        "dataset": {"name": env_id, "type": env_id},
        "metrics": [{"type": "mean_reward", "name": "mean_reward", "value": mean_return}],
    }
