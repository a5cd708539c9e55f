"""A policy acts by NumPy as it does by torch, without a second definition of it."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import Space, spaces

from distpg import Config, InputError
from distpg.config.files import load_config
from distpg.envs.describe import describe_action, describe_obs
from distpg.envs.masks import mark_mask
from distpg.learner.learner import Learner
from distpg.policy.actor_critic import Policy
from distpg.policy.architecture import Architecture
from distpg.policy.behaviour import NumpyPolicy
from distpg.policy.operations import OPERATIONS
from distpg.policy.trace import UntraceableError, acting_programs, examples
from distpg.records import Weights
from distpg.spaces import MASK, ActionSpec, ObsSpec

ROOT = Path(__file__).parents[2]
VECTOR = spaces.Box(-1, 1, (5,), np.float32)
DOUBLES = spaces.Box(-np.inf, np.inf, (2, 3), np.float64)
CATEGORIES = spaces.MultiDiscrete([3, 4], start=[0, -1])
MASKED = spaces.Dict({"obs": VECTOR, MASK: spaces.MultiBinary(4)})
MIXED = spaces.Dict(
    {"a": VECTOR, "b": spaces.Tuple([CATEGORIES, spaces.Discrete(7)]), "c": DOUBLES}
)
TORQUES = spaces.Box(-2, 2, (3,), np.float32)

CASES: dict[str, tuple[Space[Any], Space[Any], dict[str, Any]]] = {
    "discrete": (VECTOR, spaces.Discrete(4), {}),
    "discrete, masked": (MASKED, spaces.Discrete(4), {"activation": "relu"}),
    "multi-discrete": (DOUBLES, spaces.MultiDiscrete([2, 3, 4]), {"activation": "elu"}),
    "binary": (VECTOR, spaces.MultiBinary(3), {"activation": "silu"}),
    "continuous": (MIXED, TORQUES, {"normalize_obs": True}),
    "continuous, state": (VECTOR, TORQUES, {"log_std": "state", "activation": "leaky_relu"}),
    "squashed": (VECTOR, TORQUES, {"action_distribution": "squashed_gaussian"}),
    "other networks": (
        VECTOR,
        TORQUES,
        {"activation": "gelu", "clip_obs": 0.3, "log_std_init": -2.0, "orthogonal_init": False},
    ),
    "gsde": (VECTOR, TORQUES, {"action_distribution": "gsde"}),
    "categories": (MIXED, spaces.Discrete(2), {"hidden_sizes": ()}),
    "table": (CATEGORIES, spaces.Discrete(3), {"hidden_sizes": ()}),
    "looked up": (spaces.Discrete(5000), spaces.Discrete(3), {"hidden_sizes": (8,)}),
    "looked-up table": (spaces.Discrete(5000), TORQUES, {"hidden_sizes": ()}),
    "looked up, mixed": (
        spaces.Dict({"a": spaces.Discrete(5000), "b": VECTOR}),
        spaces.Discrete(3),
        {"hidden_sizes": (8,)},
    ),
}


def specs(observations: Space[Any], actions: Space[Any]) -> tuple[ObsSpec, ActionSpec]:
    action_spec = describe_action(actions, "x")
    return mark_mask(describe_obs(observations, "x"), action_spec, "x"), action_spec


def random_policy(spaces: tuple[ObsSpec, ActionSpec], parts: Architecture) -> Policy:
    """Make a policy whose parameters and statistics are all drawn."""
    policy = Policy(*spaces, parts)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in policy.state_dict().items():
            low = -0.5 if name.endswith("weight") else 0.1
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return policy


def observe(spec: ObsSpec, rows: int) -> dict[str, torch.Tensor]:
    obs = examples(spec, 20 + rows)
    if MASK in obs:
        obs[MASK] = torch.eye(4, dtype=obs[MASK].dtype)[torch.arange(20 + rows) % 4]
    return {name: leaf[-rows:] for name, leaf in obs.items()}


@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_programs_are_the_policy(case: str, rows: int) -> None:
    observations, actions, settings = CASES[case]
    chosen: dict[str, Any] = {"hidden_sizes": (16, 8), **settings}
    parts = Architecture.of(Config(**chosen))
    pair = specs(observations, actions)
    policy = random_policy(pair, parts)
    programs = pickle.loads(pickle.dumps(acting_programs(*pair, parts, torch.float32)))
    numpy_policy = NumpyPolicy(programs, policy.weights(0).arrays, rows)
    obs = observe(pair[0], rows)
    arrays = {name: leaf.numpy() for name, leaf in obs.items()}
    distribution = policy(policy.normalizer(obs))
    nobody = np.zeros(rows, bool)

    with np.errstate(all="raise"):
        modes, outputs = numpy_policy.act(arrays, nobody)
    np.testing.assert_allclose(modes, distribution.greedy().numpy(), atol=1e-5)
    generator = numpy_policy.generator(7)
    drawn, same = numpy_policy.act(arrays, nobody, generator)
    np.testing.assert_array_equal(outputs, same)
    noise = numpy_policy.noise(numpy_policy.generator(7))
    expected = distribution.sample_from(torch.from_numpy(noise))
    np.testing.assert_allclose(drawn, expected.numpy(), atol=1e-5)
    assert drawn.dtype == expected.numpy().dtype
    logprobs = numpy_policy.log_prob(drawn[None], outputs[None])
    assert logprobs.dtype == np.float32
    expected_logprobs = distribution.log_prob(torch.from_numpy(drawn)).numpy()
    np.testing.assert_allclose(logprobs, expected_logprobs[None], rtol=1e-4, atol=1e-4)


def test_no_operation_is_there_that_no_policy_uses() -> None:
    used: set[str] = set()
    for observations, actions, settings in CASES.values():
        chosen: dict[str, Any] = {"hidden_sizes": (16, 8), **settings}
        parts = Architecture.of(Config(**chosen))
        programs = acting_programs(*specs(observations, actions), parts, torch.float32)
        for program in (programs.sample, programs.greedy, programs.log_prob):
            used |= {operation.name for operation in program.operations}
    assert used == OPERATIONS.keys()


def test_acting_computes_no_more_than_it_needs() -> None:
    parts = Architecture.of(Config(hidden_sizes=(4,), action_distribution="gsde"))
    programs = acting_programs(*specs(VECTOR, TORQUES), parts, torch.float32)
    names = [
        {operation.name for operation in program.operations}
        for program in (programs.greedy, programs.sample, programs.log_prob)
    ]
    # the deviations of the matrix, and the variance of the actions
    assert [("exp" in used, "log" in used) for used in names] == [
        (False, False),
        (True, False),
        (True, True),
    ]


@pytest.mark.parametrize("noise", [0.0, 1e-45, 80.0])
def test_no_noise_draws_an_action_that_the_mask_forbids(noise: float) -> None:
    class Draws:
        def standard_exponential(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
            drawn = np.ones(shape, dtype)
            # of the first action, which is allowed nowhere
            drawn[:, 0] = noise
            return drawn

    pair, parts = specs(MASKED, spaces.Discrete(4)), Architecture.of(Config(hidden_sizes=(4,)))
    policy = random_policy(pair, parts)
    programs = acting_programs(*pair, parts, torch.float32)
    acting = NumpyPolicy(programs, policy.weights(0).arrays, 3)
    obs = {name: leaf.numpy() for name, leaf in observe(pair[0], 3).items()}
    obs[MASK] = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], obs[MASK].dtype)
    generator: Any = Draws()
    actions, _ = acting.act(obs, np.zeros(3, bool), generator)
    assert actions.tolist() == [1, 2, 3]


def test_no_action_is_drawn_that_is_all_but_impossible() -> None:
    """Exponential noise in float32 is 0 once in 8 million draws, where any action would win."""
    pair, parts = specs(VECTOR, spaces.Discrete(64)), Architecture.of(Config(hidden_sizes=(4,)))
    programs = acting_programs(*pair, parts, torch.float32)
    acting = NumpyPolicy(programs, Policy(*pair, parts).weights(0).arrays, 2**14)
    generator = acting.generator(0)
    # 2^25 numbers, of which 4 are 0 as NumPy draws them
    least = min(float(acting.noise(generator).min()) for _ in range(32))
    assert least == 2**-24


PICTURE = spaces.Box(0, 255, (36, 36, 3), np.uint8)


@pytest.mark.parametrize(
    ("observations", "actions", "settings", "said"),
    [
        (PICTURE, spaces.Discrete(2), {}, "the operator"),
        (VECTOR, spaces.Discrete(2), {"recurrent": "gru"}, "a recurrent layer"),
        (VECTOR, TORQUES, {"action_distribution": "beta"}, "sampling by Beta"),
        (VECTOR, spaces.Discrete(70_000), {}, "sampling by Categorical"),
    ],
)
def test_other_policies_act_by_torch(
    observations: Space[Any], actions: Space[Any], settings: dict[str, Any], said: str
) -> None:
    pair = specs(observations, actions)
    chosen: dict[str, Any] = {"hidden_sizes": (4,), **settings}
    config = Config(**chosen)
    with pytest.raises(UntraceableError, match=said):
        acting_programs(*pair, Architecture.of(config), torch.float32)
    learner = Learner(config, *pair)
    assert learner.weights().acting is None
    assert learner.placement().acting == "torch"
    with pytest.raises(InputError, match="--acting: numpy does not support "):
        Learner(Config(**chosen, acting="numpy"), *pair)


def test_the_setting_decides_if_both_can() -> None:
    pair = specs(VECTOR, spaces.Discrete(2))
    for acting, expected in {"auto": "numpy", "numpy": "numpy", "torch": "torch"}.items():
        chosen: dict[str, Any] = {"hidden_sizes": (4,), "acting": acting}
        learner = Learner(Config(**chosen), *pair)
        assert learner.placement().acting == expected
        assert (learner.weights().acting is None) == (expected == "torch")
        assert (learner.acting_weights().acting is None) == (expected == "torch")


COLLECT = """
import pickle, sys
from distpg.config.files import load_config
from distpg.envs.make import find_source
from distpg.rollout.evaluation import Evaluator
from distpg.rollout.worker import RolloutWorker

weights, config = pickle.load(sys.stdin.buffer)
worker = RolloutWorker(config, find_source(config, None), 0)
collected = worker.collect(weights, 0)
assert Evaluator(config, worker.source).begin(weights) is not None
assert "torch" not in sys.modules
sys.stdout.buffer.write(pickle.dumps(collected.rollout))
"""


def test_a_worker_collects_and_evaluates_without_torch() -> None:
    config = load_config("cartpole-ppo", num_steps=8, minibatch_size=8, eval_episodes=1)
    pair = specs(
        spaces.Box(-np.inf, np.inf, (4,), np.float32),
        spaces.Discrete(2),
    )
    weights: Weights = Learner(config, *pair).weights()
    done = subprocess.run(
        [sys.executable, "-c", COLLECT],
        input=pickle.dumps((weights, config)),
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert pickle.loads(done.stdout).policy_version == 0
