"""Whole updates in tables: each matters to what it checks, and planted faults fail it."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from distpg.gradient import losses
from distpg.learner import objective
from distpg.learner.schedules import Schedules
from distpg.policy.distributions import Categorical
from distpg.proof import tabular
from distpg.proof.scene import Scene
from distpg.proof.updates import Case, cases, verify_update

CASES = {case.name: case for case in cases()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_learner_does_what_the_tables_say_and_both_move(case: Case) -> None:
    report = verify_update(case)
    assert report.verdict == "PASS", report
    assert report.policy_moved > 0.2 < report.critic_moved


WITHOUT: Mapping[str, dict[str, Any]] = {
    "clip": {"clip_coef": 10.0},
    "kl_fixed": {"kl_coef": 1e-9},
    "kl_adaptive": {"kl_coef": 1e-9},
    "entropy": {"ent_coef": 0.0},
    "value clip": {"value_clip": None},
    "vtrace rho_bar 1.3 c_bar 0.9": {"rho_bar": 0.9, "c_bar": 1.3},
    "vtrace rho_bar 0.9 c_bar 1.3": {"rho_bar": 1.3, "c_bar": 0.9},
    "recomputed advantages": {"recompute_advantages": False},
    "all of them": {"normalize_advantages": False},
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_row_is_named_after_moves_its_tables(name: str) -> None:
    case = CASES[name]

    def tables(**changes: Any) -> tabular.Tables:
        shape = {"num_slots": 1, "num_envs": 5, "episodes_per_env": 1, "num_epochs": 3}
        settings = {**shape, "baseline": "value", "learning_rate": 0.1, "max_grad_norm": 1.0}
        config = case.scene.config(**{**settings, **case.settings, **changes})
        return tabular.update(
            case.scene, config, case.scene.limited.episodes(case.scene.behaviour)
        )[0]

    one, other = tables(), tables(**WITHOUT[name])
    moved = max(
        float((one.logits - other.logits).abs().max()),
        float((one.values - other.values).abs().max()),
    )
    assert moved > 1e-4


def test_the_tables_gradient_is_autograds_of_the_loss_as_defined() -> None:
    scene = Scene(wrong_critic=True)
    settings = {"baseline": "value", "clip_coef": 0.1, "ent_coef": 0.3, "value_clip": 0.2}
    config = scene.config(**settings, vf_coef=0.7)
    episodes = scene.limited.episodes(scene.behaviour)
    steps = tabular.credit(scene, config, episodes, scene.values)
    moved = torch.tensor([[0.1, -0.2], [0.2, 0.0], [-0.3, 0.1]], dtype=torch.float64)
    logits = (scene.policy.log() + moved).requires_grad_()
    values = (scene.values + torch.tensor([0.1, -0.3, 0.5])).requires_grad_()
    policy = torch.distributions.Categorical(logits=logits[steps.nodes])
    ratio = policy.probs.gather(1, steps.actions[:, None])[:, 0]
    ratio = ratio / scene.behaviour[steps.nodes, steps.actions]
    held = torch.minimum(ratio * steps.advantages, ratio.clamp(0.9, 1.1) * steps.advantages).mean()
    old, v = scene.values[steps.nodes], values[steps.nodes]
    near = old + (v - old).clamp(-0.2, 0.2)
    errors = torch.maximum((v - steps.targets) ** 2, (near - steps.targets) ** 2).mean()
    loss = -held - 0.3 * policy.entropy().mean() + 0.7 * errors
    expected = torch.autograd.grad(loss, [logits, values])
    now = tabular.Tables(logits.detach(), values.detach())
    for found, wanted in zip(tabular.gradients(scene, config, steps, now), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_fault_the_penalty_in_the_other_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Categorical.kl

    def reversed_kl(self: Categorical, other: Categorical) -> Tensor:
        return right(other, self)

    monkeypatch.setattr(Categorical, "kl", reversed_kl)
    assert verify_update(CASES["kl_fixed"]).verdict == "FAIL"


def test_fault_a_schedule_that_is_shown_another_kl(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Schedules.observe

    def halved(self: Schedules, kl: float) -> None:
        right(self, kl / 2)

    monkeypatch.setattr(Schedules, "observe", halved)
    report = verify_update(CASES["kl_adaptive"])
    assert (report.verdict, report.kl_coef) == ("FAIL", 2.5)


def test_fault_a_clip_of_one_side(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_sided(log_ratio: Tensor, advantages: Tensor, *, clip_coef: float) -> Tensor:
        return -(log_ratio.exp().clamp(max=1 + clip_coef) * advantages).mean()

    monkeypatch.setattr(losses, "clipped_loss", one_sided)
    assert verify_update(CASES["clip"]).verdict == "FAIL"


def test_fault_targets_of_the_other_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    right = objective.estimate

    def exchanged(trajectories: Any, settings: Any) -> tuple[Tensor, Tensor]:
        bars = {"rho_bar": settings.c_bar, "c_bar": settings.rho_bar}
        return right(trajectories, type(settings)(**{**vars(settings), **bars}))

    monkeypatch.setattr(objective, "estimate", exchanged)
    for name in ("vtrace rho_bar 1.3 c_bar 0.9", "vtrace rho_bar 0.9 c_bar 1.3", "all of them"):
        assert verify_update(CASES[name]).verdict == "FAIL"
