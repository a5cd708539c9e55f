"""Verify whole updates, away from the acting parameters, against the same updates in tables.

At the behaviour policy's parameters the ratio is 1: neither the clip, the KL penalty nor the value
clip has an effect there. So the learner, in float64, takes three optimizer steps on a batch of
every possible episode, the last two from parameters that have moved; `tabular.py` does the same in
closed form.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from distpg.learner.learner import Learner
from distpg.proof.gradients import double_precision
from distpg.proof.scene import Scene, rollout_of
from distpg.proof.tabular import update

TOLERANCE = 1e-10
"""Maximum difference between equal parameters."""
NUM_EPOCHS = 3


@dataclass(frozen=True)
class Case:
    """Settings of an update, and what it is run on."""

    name: str
    settings: dict[str, Any]
    scene: Scene


@dataclass(frozen=True)
class UpdateReport:
    """The verification of an update."""

    update: str
    verdict: Literal["PASS", "FAIL"]
    policy: float
    """Largest difference of a parameter of the policy; how far the furthest one moved:"""
    policy_moved: float
    critic: float
    critic_moved: float
    kl_coef: float
    """Difference of the KL penalty's coefficient after the update."""


def cases() -> Iterator[Case]:
    """Yield updates in which clip, penalty, entropy, both limits and the moving critic matter."""
    gae = {"advantage": "gae", "gae_lambda": 0.9}
    wrong = Scene(wrong_critic=True)
    older = Scene(wrong_critic=True, off_policy=True)
    vtrace = {"advantage": "vtrace", "overlap": True}
    limits: list[dict[str, Any]] = [{"rho_bar": 1.3, "c_bar": 0.9}, {"rho_bar": 0.9, "c_bar": 1.3}]
    entropy: dict[str, Any] = {"clip_coef": 10.0, "ent_coef": 0.5}
    yield Case("clip", {**gae, "clip_coef": 0.05}, wrong)
    for kind in ("kl_fixed", "kl_adaptive"):
        yield Case(kind, {**gae, "surrogate": kind, "kl_coef": 5.0, "kl_target": 0.04}, wrong)
    yield Case("entropy", {**gae, **entropy}, wrong)
    yield Case("value clip", {**gae, "clip_coef": 10.0, "value_clip": 0.15}, wrong)
    for bars in limits:
        name = f"vtrace rho_bar {bars['rho_bar']:g} c_bar {bars['c_bar']:g}"
        yield Case(name, {**vtrace, **bars, "clip_coef": 10.0}, older)
    again = {"recompute_advantages": True, "value_clip": 0.15, "clip_coef": 10.0}
    yield Case("recomputed advantages", {**vtrace, **limits[0], **again}, older)
    everything = {**vtrace, **limits[0], "clip_coef": 0.1, "value_clip": 0.15, "ent_coef": 0.1}
    yield Case("all of them", {**everything, "normalize_advantages": True}, older)


def verify_update(case: Case) -> UpdateReport:
    """Compare the learner's update with the same one in tables."""
    scene = case.scene
    episodes = scene.limited.episodes(scene.behaviour)
    shape = {"num_slots": 1, "num_envs": len(episodes), "episodes_per_env": 1}
    steps = {"num_epochs": NUM_EPOCHS, "learning_rate": 0.1, "max_grad_norm": 1.0}
    settings = {"baseline": "value", "normalize_advantages": False, **case.settings}
    config = scene.config(**shape, **steps, **settings)
    with double_precision():
        learner = scene.learner(config)
        if config.overlap:
            # the rollout is of version 0
            learner.version = 1
            learner.published = learner.snapshot()
        rolled_back = learner.update([rollout_of(episodes, scene.behaviour)])[1].rolled_back
    expected, kl_coef = update(scene, config, episodes)
    logits, values = tables_of(learner, scene)
    start = scene.policy.log()
    differences = (
        float((logits - expected.logits).abs().max()),
        float((values - expected.values).abs().max()),
        abs(learner.schedules.kl_coef - kl_coef),
    )
    right = not rolled_back and all(difference < TOLERANCE for difference in differences)
    return UpdateReport(
        update=case.name,
        verdict="PASS" if right else "FAIL",
        policy=differences[0],
        policy_moved=float((logits - start).abs().max()),
        critic=differences[1],
        critic_moved=float((values - scene.values).abs().max()),
        kl_coef=differences[2],
    )


def tables_of(learner: Learner, scene: Scene) -> tuple[Tensor, Tensor]:
    """Return the learner's logits [S, A] and values [S] at the decision nodes."""
    with torch.no_grad():
        (weight,) = learner.model.critic["head"].parameters()
        (logits,) = learner.policy.head.parameters()
        return logits[:, scene.numbers].T, weight[0, scene.numbers]
