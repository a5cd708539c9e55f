"""The learner's own state as arrays by name: critic, optimizer, reward scale."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from distpg.errors import InputError
from distpg.learner.reward_scale import RewardScale
from distpg.policy.actor_critic import ActorCritic, load_arrays, to_arrays

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps for each parameter."""


def learner_arrays(
    model: ActorCritic, optimizer: torch.optim.Adam, reward_scale: RewardScale
) -> dict[str, np.ndarray]:
    """Copy critic, optimizer and reward scale into arrays."""
    arrays = {f"critic/{name}": array for name, array in to_arrays(model.critic).items()}
    for name, parameter in model.named_parameters():
        for moment in MOMENTS:
            if parameter in optimizer.state:
                value = optimizer.state[parameter][moment]
                arrays[f"optimizer/{moment}/{name}"] = value.numpy(force=True).copy()
    return arrays | {f"reward_scale/{name}": x for name, x in reward_scale.state().items()}


def load_learner_arrays(
    model: ActorCritic,
    optimizer: torch.optim.Adam,
    reward_scale: RewardScale,
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Copy back what `learner_arrays` returned."""
    load_critic(model.critic, arrays)
    for name, parameter in model.named_parameters():
        kept = {moment: arrays.get(f"optimizer/{moment}/{name}") for moment in MOMENTS}
        found = {moment: array for moment, array in kept.items() if array is not None}
        if found and len(found) < len(MOMENTS):
            raise InputError(f"the saved optimizer lacks some of {', '.join(MOMENTS)} of {name}")
        optimizer.state.pop(parameter, None)
        if found:
            # the step count stays on the parameter's device: the fused optimizer reads it there
            optimizer.state[parameter] = {
                moment: torch.tensor(array, device=parameter.device)
                for moment, array in found.items()
            }
    reward_scale.load(part(arrays, "reward_scale/"))


def load_critic(critic: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Copy the critic's parameters back."""
    load_arrays(critic, part(arrays, "critic/"))


def part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Take out the arrays under a prefix."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
