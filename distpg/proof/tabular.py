"""A whole update in tables, without learner code: credit, gradients in closed form, the optimizer.

B steps of a batch, S decision nodes, A actions. Policy and critic are tables, so the gradient of
every term is known: of log pi(a|s) in the logits of s it is the action's indicator minus pi.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distpg.config.config import Config
from distpg.proof.scene import Scene
from distpg.proof.solver import Episode


@dataclass(frozen=True)
class Credit:
    """The steps of a batch, and what they are credited with."""

    nodes: Tensor
    """[B] int64"""
    actions: Tensor
    """[B] int64"""
    advantages: Tensor
    """[B]"""
    targets: Tensor
    """[B] of V"""


@dataclass(frozen=True)
class Tables:
    """Policy and critic."""

    logits: Tensor
    """[S, A]"""
    values: Tensor
    """[S]"""

    @property
    def policy(self) -> Tensor:
        """[S, A] probabilities."""
        return self.logits.softmax(1)


def credit(scene: Scene, config: Config, episodes: Sequence[Episode], critic: Tensor) -> Credit:
    """Credit the steps of terminated episodes by GAE (eq. 16) or V-trace (eq. 1), as sums.

    `critic` has the values of the decision nodes, [S].
    """
    ratios = scene.policy / scene.behaviour
    psi: list[Tensor] = []
    targets: list[Tensor] = []
    for episode in episodes:
        length = len(episode.nodes)
        values = torch.cat([critic[episode.nodes], critic.new_zeros(1)])
        rewards = values.new_tensor(episode.rewards)
        errors = rewards + config.gamma * values[1:] - values[:-1]
        if config.advantage == "gae":
            decay = config.gamma * config.gae_lambda
            powers = decay ** torch.arange(length, dtype=values.dtype)
            own = torch.stack([powers[: length - t] @ errors[t:] for t in range(length)])
            psi.append(own)
            targets.append(own + values[:-1])
            continue
        ratio = ratios[episode.nodes, episode.actions]
        rhos, cs = ratio.clamp(max=config.rho_bar), ratio.clamp(max=config.c_bar)
        moved = values.new_zeros(length + 1)
        for t in range(length):
            for k in range(t, length):
                product = config.gamma ** (k - t) * cs[t:k].prod()
                moved[t] += product * rhos[k] * errors[k]
        psi.append(errors + config.gamma * moved[1:])
        targets.append(values[:-1] + moved[:-1])
    advantages = torch.cat(psi)
    if config.normalize_advantages:
        advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
    nodes = torch.tensor([node for episode in episodes for node in episode.nodes])
    actions = torch.tensor([action for episode in episodes for action in episode.actions])
    return Credit(nodes, actions, advantages, torch.cat(targets))


def gradients(scene: Scene, config: Config, steps: Credit, now: Tables) -> tuple[Tensor, Tensor]:
    """Return the gradients of the loss in the logits, [S, A], and in the values, [S]."""
    policy, count = now.policy, len(steps.nodes)
    here, chosen = policy[steps.nodes], (steps.nodes, steps.actions)
    scores = torch.eye(policy.shape[1], dtype=policy.dtype)[steps.actions] - here
    ratio = policy[chosen] / scene.behaviour[chosen]
    weights = ratio * steps.advantages
    rows = torch.zeros_like(here)
    if config.surrogate == "clip":
        above, below = ratio > 1 + config.clip_coef, ratio < 1 - config.clip_coef
        beyond = above & (steps.advantages > 0) | below & (steps.advantages < 0)
        weights = weights * ~beyond
    else:
        rows += config.kl_coef * (here - scene.policy[steps.nodes])
    rows -= weights[:, None] * scores
    entropy = -(here * here.log()).sum(1, keepdim=True)
    rows += config.ent_coef * here * (here.log() + entropy)
    error = now.values[steps.nodes] - steps.targets
    if config.value_clip is not None:
        old = scene.values[steps.nodes]
        moved = now.values[steps.nodes] - old
        held = old + moved.clamp(-config.value_clip, config.value_clip) - steps.targets
        error = error * (error.abs() >= held.abs())
    logits = torch.zeros_like(policy).index_add(0, steps.nodes, rows / count)
    errors = torch.zeros_like(now.values).index_add(0, steps.nodes, error / count)
    return logits, 2 * config.vf_coef * errors


def update(scene: Scene, config: Config, episodes: Sequence[Episode]) -> tuple[Tables, float]:
    """Run the epochs of an update, each a step of Adam on the whole batch (Kingma and Ba 2015).

    Returns:
        The tables after it, and the coefficient of the KL penalty for the next update.
    """
    steps = credit(scene, config, episodes, scene.values)
    now = Tables(scene.policy.log(), scene.values)
    seen: list[Tensor] = []
    for t in range(1, config.num_epochs + 1):
        if config.recompute_advantages:
            steps = credit(scene, config, episodes, now.values)
        parts = gradients(scene, config, steps, now)
        flat = torch.cat([part.flatten() for part in parts])
        seen.append(flat * min(1.0, config.max_grad_norm / (float(flat.norm()) + 1e-6)))
        ages = [t - k for k in range(1, t + 1)]
        mean = sum(0.1 * 0.9**age * g for age, g in zip(ages, seen, strict=True))
        square = sum(0.001 * 0.999**age * g * g for age, g in zip(ages, seen, strict=True))
        assert isinstance(mean, Tensor), "there is a first gradient"
        assert isinstance(square, Tensor), "there is a first gradient"
        mean, square = mean / (1 - 0.9**t), square / (1 - 0.999**t)
        step = config.learning_rate * mean / (square.sqrt() + 1e-5)
        logits, values = step.split([now.logits.numel(), now.values.numel()])
        now = Tables(now.logits - logits.view_as(now.logits), now.values - values)
    return now, penalty(scene, config, steps, now)


def penalty(scene: Scene, config: Config, steps: Credit, after: Tables) -> float:
    """Return the KL penalty's coefficient after an update (Schulman et al. 2017, section 4)."""
    if config.surrogate != "kl_adaptive":
        return config.kl_coef
    chosen = (steps.nodes, steps.actions)
    ratio = (after.policy / scene.behaviour)[chosen]
    kl = float((ratio - 1 - ratio.log()).mean())
    if kl > 1.5 * config.kl_target:
        return 2 * config.kl_coef
    return config.kl_coef / 2 if kl < config.kl_target / 1.5 else config.kl_coef
