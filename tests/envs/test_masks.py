"""Action masks: wherever they come from, what is not allowed is never done."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

from distpg import Config, InputError, RunError, evaluate, load_policy, train
from distpg.doctor.check import Check
from distpg.doctor.environment import BASIC_CHECKS, RUN_CHECKS, checks
from distpg.envs.make import EnvSource, find_env, make_vector_env
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.rollout.worker import RolloutWorker
from distpg.run.preflight import check_env
from distpg.spaces import MASK
from tests.environments import Info, Stepped
from tests.settings import config_of

TINY: dict[str, Any] = {
    "num_workers": 0,
    "num_slots": 2,
    "num_envs": 2,
    "num_steps": 32,
    "minibatch_size": 32,
    "num_epochs": 2,
    "hidden_sizes": (16,),
    "total_steps": 256,
}


class Strict(gym.Env[Any, Any]):
    """Raises at an action that its mask forbids; its episodes are 20 steps long."""

    def __init__(self, tells: str = "info", kind: str = "one", stuck_at: int = -1) -> None:
        self.tells, self.stuck_at = tells, stuck_at
        self.sizes = [3, 4] if kind == "several" else [5]
        place = spaces.Box(-1, 1, (2,), np.float32)
        mask = spaces.MultiBinary(sum(self.sizes))
        self.observation_space = (
            spaces.Dict({"place": place, MASK: mask}) if tells == "leaf" else place
        )
        several = spaces.MultiDiscrete(self.sizes)
        self.action_space = several if kind == "several" else spaces.Discrete(5)
        if tells == "method":
            self.action_masks = lambda: self.mask
        choices = [[*itertools.product((0, 1), repeat=size)][1:] for size in self.sizes]
        self.masks = np.array([sum(parts, ()) for parts in itertools.product(*choices)], np.int8)
        self.mask = self.masks[-1]
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        super().reset(seed=seed)
        self.steps = 0
        return self.observe()

    def step(self, action: Any) -> Stepped:
        places = [action] if len(self.sizes) == 1 else [action[0], self.sizes[0] + action[1]]
        assert all(self.mask[place] for place in places), "this is not allowed"
        self.steps += 1
        done = self.steps == 20
        obs, info = self.observe()
        if done and self.tells == "info":
            info = {}
        return obs, float(sum(places)), done, False, info

    def observe(self) -> tuple[Any, Info]:
        self.mask = self.masks[self.np_random.integers(len(self.masks))]
        if self.steps == self.stuck_at:
            self.mask = self.mask * 0
        place = self.np_random.random(2, np.float32)
        if self.tells == "leaf":
            return {"place": place, MASK: self.mask}, {}
        return place, {MASK: self.mask} if self.tells == "info" else {}


if "Strict-v0" not in gym.registry:
    gym.register("Strict-v0", "tests.envs.test_masks:Strict")

WAYS: list[dict[str, Any]] = [
    {"tells": tells, "kind": kind}
    for tells in ("info", "method", "leaf")
    for kind in ("one", "several")
]


def source(**kwargs: Any) -> EnvSource:
    found, obs_spec, _ = check_env(find_env(Strict, kwargs), 60)
    assert obs_spec.is_masked
    return found


def collect(config: Config, found: EnvSource, iterations: int) -> list[Any]:
    worker = RolloutWorker(config, found, 0)
    specs = worker.envs.obs_spec, worker.envs.action_spec
    weights = Policy(*specs, Architecture.of(config)).weights(0)
    return [worker.collect(weights, iteration) for iteration in range(iterations)]


@pytest.mark.parametrize(
    ("steps", "way"),
    [
        *((5000, way) for way in WAYS),
        pytest.param(100_000, WAYS[0], marks=pytest.mark.thorough),
    ],
    ids=str,
)
def test_nothing_forbidden_is_done(steps: int, way: dict[str, Any]) -> None:
    config = config_of({**TINY, "num_envs": 8, "num_steps": steps // 8, "max_env_faults": 0})
    (collected,) = collect(config, source(**way), 1)
    assert not collected.stats.faults
    assert collected.stats.env_steps > 0.9 * steps


@pytest.mark.parametrize("kind", ["one", "several"])
def test_a_forbidden_action_has_probability_and_gradient_zero(kind: str) -> None:
    envs = make_vector_env(source(kind=kind), 4)
    policy = Policy(envs.obs_spec, envs.action_spec, Architecture((8,), "tanh", False))
    obs = {name: torch.from_numpy(leaf.copy()) for name, leaf in envs.reset([1, 2, 3, 4]).items()}
    mask = obs[MASK].bool()
    assert not mask.all()
    outputs = policy.outputs(policy.features(obs), obs)
    outputs.retain_grad()
    raw = policy.head(policy.features(obs)).detach().requires_grad_()
    masked = raw.masked_fill(~mask, torch.finfo(raw.dtype).min)
    distribution = policy.distribution_of(masked)
    actions = distribution.sample(torch.Generator().manual_seed(0))
    loss = distribution.log_prob(actions).sum() + distribution.entropy().sum()
    (gradient,) = torch.autograd.grad(loss, raw)
    assert gradient.isfinite().all()
    assert not gradient[~mask].any()
    assert gradient[mask].any()
    parts = [part.softmax(-1) for part in outputs.split(envs.action_spec.sizes, -1)]
    assert not torch.cat(parts, -1)[~mask].any()
    assert distribution.kl(distribution).abs().max() == 0


def test_a_mask_that_allows_one_action_leaves_no_entropy() -> None:
    envs = make_vector_env(source(), 2)
    policy = Policy(envs.obs_spec, envs.action_spec, Architecture((8,), "tanh", False))
    only = torch.tensor([[0, 0, 1, 0, 0], [0, 0, 0, 0, 1]])
    obs = {"obs": torch.ones(2, 2), MASK: only}
    distribution = policy(obs)
    assert distribution.greedy().tolist() == [2, 4]
    assert distribution.entropy().tolist() == [0, 0]
    assert distribution.log_prob(torch.tensor([2, 4])).tolist() == [0, 0]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("algo", ["ppo", "trpo"])
def test_runs_learn_evaluate_and_play(way: dict[str, Any], algo: str, tmp_path: Path) -> None:
    if algo != "ppo" and way["kind"] == "one":
        way = {**way, "kind": "several"}
    few = TINY if algo == "ppo" else {**TINY, "num_epochs": 1}
    config = config_of({**few, "algo": algo, "env_kwargs": way, "max_env_faults": 0})
    outcome = train(config, make_env=Strict, run_dir=tmp_path / "run", quiet=True)
    assert outcome.result["env_faults"] == 0
    evaluate(outcome.run_dir, episodes=3, make_env=Strict)
    policy, env = load_policy(outcome.run_dir), Strict(**way)
    obs, info = env.reset(seed=0)
    for _ in range(50):
        mask = None if way["tells"] == "leaf" else env.mask
        action = policy.act(obs, action_mask=mask, stochastic=True)
        obs, _, done, *_ = env.step(action)
        if done:
            obs, info = env.reset()
    assert info is not None


def test_the_mask_is_no_input_of_the_networks_and_has_no_statistics() -> None:
    found = source(tells="leaf")
    (collected,) = collect(Config(**TINY), found, 1)
    assert set(collected.rollout.obs) == {"place", MASK}
    envs = make_vector_env(found, 1)
    policy = Policy(envs.obs_spec, envs.action_spec, Architecture((8,), "tanh", True))
    obs = {"place": torch.ones(1, 2)}
    one, other = (policy.features({**obs, MASK: torch.full((1, 5), fill)}) for fill in (0, 1))
    assert torch.equal(one, other)
    assert list(policy.normalizer.names) == ["place"]


def test_a_mask_that_allows_nothing_ends_the_run_with_its_place(tmp_path: Path) -> None:
    config: Config = Config(**TINY, env_kwargs={"stuck_at": 7}, on_bad_value="drop")
    place = r"slot \d, env \d: at step \d+ of the rollout its action mask allows no action"
    with pytest.raises(RunError, match=place):
        train(config, make_env=Strict, run_dir=tmp_path / "run", quiet=True)


def test_an_evaluation_names_the_env_and_the_step_where_nothing_is_allowed(tmp_path: Path) -> None:
    config: Config = Config(**TINY)
    train(config, make_env=Strict, run_dir=tmp_path / "run", quiet=True)
    with pytest.raises(RunError, match=r"in an evaluation, env \d: at step 7 of its episode"):
        evaluate(tmp_path / "run", episodes=8, make_env=lambda: Strict(stuck_at=7))


def test_a_loaded_policy_needs_the_mask_and_one_that_allows_something(tmp_path: Path) -> None:
    outcome = train(Config(**TINY), make_env=Strict, run_dir=tmp_path / "run", quiet=True)
    policy = load_policy(outcome.run_dir)
    obs = np.zeros(2, np.float32)
    assert policy.act(obs, action_mask=np.array([0, 0, 0, 1, 0])) == 3
    batch = policy.act(np.zeros((2, 2), np.float32), action_mask=np.eye(5)[[4, 1]])
    assert batch.tolist() == [4, 1]
    with pytest.raises(InputError, match="pass action_mask"):
        policy.act(obs)
    with pytest.raises(InputError, match="allows no action"):
        policy.act(obs, action_mask=np.zeros(5))
    with pytest.raises(InputError, match="action_mask"):
        policy.act(obs, action_mask=np.ones(4))


class WrongMask(Strict):
    """One whose mask has an entry too few."""

    def observe(self) -> tuple[Any, Info]:
        obs, info = super().observe()
        return obs, {MASK: info[MASK][1:]}


class MaskedBox(gym.Env[Any, Any]):
    """One whose actions are no choices, or that observes nothing else."""

    def __init__(self, kind: str) -> None:
        mask, place = spaces.MultiBinary(2), spaces.Box(-1, 1, (2,), np.float32)
        alone = kind == "alone"
        self.observation_space = spaces.Dict(
            {MASK: mask} if alone else {MASK: mask, "place": place}
        )
        self.action_space = spaces.Discrete(2) if alone else place


@pytest.mark.parametrize(
    ("make_env", "problem"),
    [
        (WrongMask, "the action mask has 4 entries, but there are 5 actions"),
        (lambda: MaskedBox("box"), "a mask needs one entry for each choice"),
        (lambda: MaskedBox("alone"), "observes nothing but its action_mask"),
    ],
)
def test_what_is_no_mask_is_refused(make_env: Callable[[], Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        check_env(find_env(make_env, {}), 60)


def test_gymnasiums_own_masks_are_taken() -> None:
    found, obs_spec, action_spec = check_env(find_env("Taxi-v4", {}), 60)
    assert found.masks == "info"
    assert [leaf.kind for leaf in obs_spec.leaves] == ["mask", "categories"]
    config = config_of({**TINY, "env_id": "Taxi-v4"})
    collected = collect(config, found, 2)
    rollout = collected[1].rollout
    masks = np.take_along_axis(rollout.obs[MASK][:-1], rollout.actions[..., None], 2)[..., 0]
    assert masks[rollout.valid].all()
    assert action_spec.sizes == (6,)


class Late(Strict):
    """One that tells no mask at a reset."""

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[Any, Info]:
        return super().reset(seed=seed)[0], {}


class Apart(Strict):
    """One whose masks come apart, one for each choice."""

    def __init__(self) -> None:
        super().__init__(kind="several")

    def observe(self) -> tuple[Any, Info]:
        obs, info = super().observe()
        return obs, {MASK: (info[MASK][:3], info[MASK][3:])}


def test_a_mask_that_comes_first_with_a_step_is_not_ignored() -> None:
    with pytest.raises(InputError, match="the info has an action_mask, but had none"):
        check_env(find_env(Late, {}), 60)


class ToldOfAll(CartPoleVectorEnv):
    """A vector implementation that tells masks in its info: the action is the copy's number."""

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, Info]:
        obs, info = super().reset(seed=seed, options=options)
        return obs, {**info, MASK: self.mask()}

    def step(self, action: Any) -> Any:
        assert (self.prev_done | (action == np.arange(self.num_envs) % 2)).all()
        *outcome, info = super().step(action)
        return *outcome, {**info, MASK: self.mask()}

    def mask(self) -> Any:
        return np.eye(2, dtype=bool)[np.arange(self.num_envs) % 2]


class ToldAtFirst(ToldOfAll):
    def step(self, action: Any) -> Any:
        *outcome, _ = super().step(action)
        return *outcome, {}


def test_the_masks_in_the_info_of_a_vector_implementation_are_used() -> None:
    for name in ("ToldOfAll", "ToldAtFirst"):
        gym.register(f"{name}-v0", vector_entry_point=f"tests.envs.test_masks:{name}")
    try:
        found, obs_spec, _ = check_env(find_env("ToldOfAll-v0", {}), 60)
        assert obs_spec.is_masked
        rollouts = collect(config_of({**TINY, "num_slots": 1, "num_envs": 2}), found, 3)
        for collected in rollouts:
            valid, actions = collected.rollout.valid, collected.rollout.actions
            assert valid.sum() > 20
            assert (actions == np.arange(2))[valid].all()
        with pytest.raises(InputError, match="the info of ToldAtFirst-v0 has no action_mask"):
            check_env(find_env("ToldAtFirst-v0", {}), 60)
    finally:
        for name in ("ToldOfAll", "ToldAtFirst"):
            gym.registry.pop(f"{name}-v0")


def test_masks_that_come_apart_are_taken_so_by_a_loaded_policy(tmp_path: Path) -> None:
    outcome = train(Config(**TINY), make_env=Apart, run_dir=tmp_path / "run", quiet=True)
    policy = load_policy(outcome.run_dir)
    apart = (np.array([0, 1, 0]), np.array([0, 0, 0, 1]))
    obs = np.zeros(2, np.float32)
    assert policy.act(obs, action_mask=apart).tolist() == [1, 3]
    assert policy.act(obs, action_mask=[0, 1, 0, 0, 0, 0, 1]).tolist() == [1, 3]
    batch = [np.stack([part, part]) for part in apart]
    assert policy.act(np.stack([obs, obs]), action_mask=batch).tolist() == [[1, 3], [1, 3]]


def test_a_policy_that_knows_no_mask_says_so(tmp_path: Path) -> None:
    config: Config = Config(**TINY)
    run = tmp_path / "run"
    train(config, make_env=lambda: gym.make("CartPole-v1"), run_dir=run, quiet=True)
    with pytest.raises(InputError, match="trained without action masks; omit action_mask"):
        load_policy(run).act(np.zeros(4), action_mask=np.ones(2))


@pytest.mark.thorough
def test_an_environment_with_masks_is_examined_by_what_they_allow() -> None:
    name = f"{__name__}:Strict-v0"
    for way in WAYS:
        found = {
            one.name: one
            for one in checks(Config(env_id=name, env_kwargs=way))
            if isinstance(one, Check)
        }
        assert "FAIL" not in {check.status for check in found.values()}, found
        assert found["masks"].found.startswith("allow ")
        assert list(found) == [*BASIC_CHECKS, *RUN_CHECKS]
    stuck = [
        one
        for one in checks(Config(env_id=name, env_kwargs={"stuck_at": 7}))
        if isinstance(one, Check)
    ]
    (failure,) = (check for check in stuck if check.status == "FAIL")
    assert failure.name == "masks"
    assert failure.found == "after 7 steps and resets no action is allowed"


def test_other_environments_are_left_alone() -> None:
    for env_id in ("CartPole-v1", "Pendulum-v1", "FrozenLake-v1"):
        found, obs_spec, _ = check_env(find_env(env_id, {}), 60)
        assert dataclasses.replace(found, masks="none") == found
        assert not obs_spec.is_masked
