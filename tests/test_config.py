"""Settings: where their values come from, and what is refused."""

import dataclasses
import itertools
import math
import typing
from typing import Any

import pytest

from distpg import Config, InputError, load_config
from distpg.config.config import hints, presets
from distpg.config.files import recipes
from distpg.config.values import Pattern, Range
from tests.settings import config_of


def test_ppos_defaults_are_those_of_stable_baselines3() -> None:
    config = Config()
    assert config.algo == "ppo"
    assert (config.hidden_sizes, config.activation) == ((64, 64), "tanh")
    assert (config.num_epochs, config.minibatch_size) == (10, 64)
    assert (config.learning_rate, config.gamma, config.gae_lambda) == (3e-4, 0.99, 0.95)
    assert (config.clip_coef, config.ent_coef, config.vf_coef) == (0.2, 0.0, 0.5)
    assert config.max_grad_norm == 0.5
    assert config.normalize_obs


def test_a_preset_changes_the_defaults_and_a_given_value_changes_the_preset() -> None:
    reinforce = Config(algo="reinforce")
    assert (reinforce.advantage, reinforce.surrogate) == ("reward_to_go", "log_prob")
    assert (reinforce.num_epochs, reinforce.minibatch_size) == (1, None)
    assert Config(algo="reinforce", baseline="value").baseline == "value"
    assert Config(algo="reinforce", learning_rate=0.25).learning_rate == 0.25
    assert Config(algo="a2c").gamma == Config().gamma


ALGOS = ["a2c", "appo", "npg", "ppo", "ppo_kl", "reinforce", "trpo"]


@pytest.mark.parametrize("algo", ALGOS)
def test_every_preset_is_a_legal_configuration_and_names_no_algo_itself(algo: str) -> None:
    assert list(presets()) == ALGOS
    assert "algo" not in presets()[algo]
    config = Config(algo=algo)
    assert dataclasses.replace(config) == config
    assert config.resolved().resolved() == config.resolved()


@pytest.mark.parametrize("name", sorted(recipes()))
def test_every_recipe_loads_and_fixes_its_slots(name: str) -> None:
    config = load_config(name)
    env = str(config.env_id).rpartition("/")[2].partition("-")[0].lower()
    assert name == f"{env}-{config.algo}".replace("_", "-")
    assert config.num_slots is not None, "num_workers would change the result"
    assert config.num_slots >= config.num_workers


def test_changing_the_number_of_workers_of_a_recipe_changes_nothing_else() -> None:
    config = load_config("cartpole-ppo")
    alone = load_config("cartpole-ppo", num_workers=0)
    assert dataclasses.replace(alone, num_workers=config.num_workers) == config


def test_what_the_defaults_leave_open_is_resolved_by_the_other_settings() -> None:
    assert Config(num_workers=3).resolved().num_slots == 3
    assert Config(num_workers=0).resolved().num_slots == 1
    assert Config(num_workers=2, num_slots=5).resolved().num_slots == 5
    assert Config().resolved().episodes_per_env == 0
    assert Config(algo="reinforce").resolved().episodes_per_env == 1
    assert Config(advantage="total_return", baseline="none").resolved().episodes_per_env == 1
    assert Config(env_id="ALE/Pong-v5").resolved().sign_rewards == "on"
    assert Config(env_id="ALE/Pong-v5", sign_rewards="off").resolved().sign_rewards == "off"
    assert Config().resolved().sign_rewards == "off"


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"num_envs": 0}, "--num-envs: 0", "between 1"),
    ({"num_envs": -3}, "--num-envs: -3", "between 1"),
    ({"num_envs": 2.5}, "--num-envs: 2.5", "a whole number"),
    ({"num_envs": True}, "--num-envs: True", "a whole number"),
    ({"num_envs": "4"}, "--num-envs: '4'", "a whole number"),
    ({"num_workers": -1}, "--num-workers: -1", "between 0"),
    ({"num_slots": 0}, "--num-slots: 0", "between 1"),
    ({"num_steps": 0}, "--num-steps: 0", "between 2"),
    ({"total_steps": 0}, "--total-steps: 0", "between 1"),
    ({"num_epochs": 0}, "--num-epochs: 0", "between 1"),
    ({"minibatch_size": 0}, "--minibatch-size: 0", "between 1"),
    ({"episodes_per_env": -1}, "--episodes-per-env: -1", "between 0"),
    ({"seed": -1}, "--seed: -1", "between 0"),
    ({"gamma": 1.01}, "--gamma: 1.01", "and 1"),
    ({"gamma": -0.1}, "--gamma: -0.1", "between 0"),
    ({"gamma": math.nan}, "--gamma: nan", "between 0"),
    ({"gamma": "high"}, "--gamma: 'high'", "a number"),
    ({"gae_lambda": 2}, "--gae-lambda: 2", "and 1"),
    ({"learning_rate": 0.0}, "--learning-rate: 0.0", "greater than 0"),
    ({"learning_rate": math.nan}, "--learning-rate: nan", "greater than 0"),
    ({"learning_rate": math.inf}, "--learning-rate: inf", "greater than 0"),
    ({"learning_rate": -1e-3}, "--learning-rate: -0.001", "greater than 0"),
    ({"clip_coef": 0.0}, "--clip-coef: 0.0", "greater than 0"),
    ({"ent_coef": -1.0}, "--ent-coef: -1.0", "at least 0"),
    ({"vf_coef": math.nan}, "--vf-coef: nan", "at least 0"),
    ({"max_grad_norm": 0}, "--max-grad-norm: 0", "greater than 0"),
    ({"target_kl": 0.0}, "--target-kl: 0.0", "greater than 0"),
    ({"target_kl": "small"}, "--target-kl: 'small'", "a number"),
    ({"stop_at_return": math.nan}, "--stop-at-return: nan", "finite"),
    ({"hidden_sizes": (64, 0)}, "--hidden-sizes: (64, 0)", "between 1"),
    ({"hidden_sizes": [64]}, "--hidden-sizes: [64]", "list"),
    ({"hidden_sizes": 64}, "--hidden-sizes: 64", "list"),
    ({"activation": "sigmoid"}, "--activation: 'sigmoid'", "tanh, relu"),
    ({"lr_schedule": "cosine"}, "--lr-schedule: 'cosine'", "constant, linear"),
    ({"device": "tpu"}, "--device: 'tpu'", "auto, cpu, cuda"),
    ({"hidden_sizes": []}, "--hidden-sizes: []", "list"),
    ({"bootstrap_steps": 0}, "--bootstrap-steps: 0", "between 1"),
    ({"bootstrap_steps": 2.5}, "--bootstrap-steps: 2.5", "a whole number or inf"),
    ({"bootstrap_steps": "all"}, "--bootstrap-steps: 'all'", "inf"),
    ({"bootstrap_steps": math.inf}, "--bootstrap-steps: inf", "a whole number or inf"),
    ({"rho_bar": 0}, "--rho-bar: 0", "greater than 0"),
    ({"c_bar": math.inf}, "--c-bar: inf", "greater than 0"),
    ({"importance": "ordinary"}, "--importance: 'ordinary'", "trajectory, per_decision, per_step"),
    ({"importance_clip": 0.0}, "--importance-clip: 0.0", "greater than 0 or none"),
    ({"loss_average": "mean"}, "--loss-average: 'mean'", "per_step, per_episode"),
    ({"normalize_over": "epoch"}, "--normalize-over:", "batch, minibatch"),
    ({"kl_coef": 0}, "--kl-coef: 0", "greater than 0"),
    ({"kl_target": -0.01}, "--kl-target: -0.01", "greater than 0"),
    ({"max_kl": 0.0}, "--max-kl: 0.0", "greater than 0"),
    ({"cg_iterations": 0}, "--cg-iterations: 0", "between 1"),
    ({"cg_damping": -0.1}, "--cg-damping: -0.1", "at least 0"),
    ({"line_search_steps": -1}, "--line-search-steps: -1", "between 0"),
    ({"value_clip": 0.0}, "--value-clip: 0.0", "greater than 0 or none"),
    ({"value_epochs": -1}, "--value-epochs: -1", "between 0"),
    ({"optimizer": "adagrad"}, "--optimizer: 'adagrad'", "adam, sgd"),
    ({"momentum": 1.5}, "--momentum: 1.5", "and 1"),
    ({"adam_betas": (0.9, 1.0)}, "--adam-betas: (0.9, 1.0)", "at least 0 and less than 1"),
    ({"adam_betas": (0.9,)}, "--adam-betas: (0.9,)", "a list of 2 numbers"),
    ({"adam_betas": 0.9}, "--adam-betas: 0.9", "a list of numbers"),
    ({"rmsprop_decay": 1.0}, "--rmsprop-decay: 1.0", "less than 1"),
    ({"value_hidden_sizes": (0,)}, "--value-hidden-sizes: (0,)", "between 1"),
    ({"clip_schedule": "cosine"}, "--clip-schedule: 'cosine'", "constant, linear, kl_adaptive"),
    ({"ent_schedule": None}, "--ent-schedule: None", "constant, linear, kl_adaptive"),
    ({"advantage": "q"}, "--advantage: 'q'", "reward_to_go, n_step, gae, vtrace"),
    ({"baseline": "best"}, "--baseline: 'best'", "none, mean, time, value"),
    ({"surrogate": "trpo"}, "--surrogate: 'trpo'", "importance, clip, kl_adaptive"),
    ({"normalize_obs": 1}, "--normalize-obs: 1", "true or false"),
    ({"env_kwargs": ["x"]}, "--env-kwargs: ['x']", "table"),
    ({"env_id": 3}, "--env-id: 3", "text"),
    ({"learner_threads": 0}, "--learner-threads: 0", "between 1"),
    ({"checkpoint_every": -1}, "--checkpoint-every: -1", "between 0"),
    ({"eval_every": -1}, "--eval-every: -1", "between 0"),
    ({"eval_delay": 0}, "--eval-delay: 0", "between 1"),
    ({"phase_timeout": 0}, "--phase-timeout: 0", "greater than 0"),
    ({"min_workers": 0}, "--min-workers: 0", "between 1"),
    ({"placement": "strict_pack"}, "--placement: 'strict_pack'", "pack, spread"),
    ({"learner_label": "gpu"}, "--learner-label: 'gpu'", "of the form key=value or none"),
    ({"worker_label": "zone="}, "--worker-label: 'zone='", "of the form key=value or none"),
    ({"wait_for_resources": -1}, "--wait-for-resources: -1", "at least 0"),
    ({"recovery_every": 0}, "--recovery-every: 0", "between 1"),
    ({"algo": "dqn"}, "--algo: 'dqn'", ", ".join(ALGOS)),
    ({"algo": ["ppo"]}, "--algo: ['ppo']", ", ".join(ALGOS)),
    ({"algo": {}}, "--algo: {}", ", ".join(ALGOS)),
]
ILLEGAL: list[tuple[dict[str, Any], str, str]] = [
    ({"eval_every": 2, "eval_delay": 3}, "--eval-delay: 3", "--eval-every 2"),
    (
        {"overlap": True, "eval_every": 1, "rollback_on_collapse": 0.5},
        "--rollback-on-collapse: 0.5",
        "--overlap",
    ),
    ({"advantage": "gae", "baseline": "mean"}, "--advantage gae", "--baseline value"),
    ({"advantage": "gae", "baseline": "none"}, "--advantage gae", "reward_to_go"),
    ({"advantage": "gae", "baseline": "time"}, "--advantage gae", "--baseline value"),
    ({"advantage": "vtrace", "baseline": "none"}, "--advantage vtrace", "--baseline value"),
    ({"advantage": "vtrace", "baseline": "mean"}, "--advantage vtrace", "--baseline value"),
    ({"advantage": "vtrace", "baseline": "time"}, "--advantage vtrace", "--baseline value"),
    ({"advantage": "n_step", "baseline": "none"}, "--advantage n_step", "--baseline value"),
    ({"advantage": "n_step", "baseline": "mean"}, "--advantage n_step", "--baseline value"),
    ({"advantage": "n_step", "baseline": "time"}, "--advantage n_step", "--baseline value"),
    (
        {"advantage": "n_step", "bootstrap_steps": 10**6, "baseline": "mean"},
        "--advantage n_step",
        "--baseline value",
    ),
    (
        {
            "advantage": "n_step",
            "bootstrap_steps": "inf",
            "baseline": "none",
            "episodes_per_env": 0,
        },
        "--episodes-per-env: 0",
        "--advantage n_step",
    ),
    ({"surrogate": "log_prob"}, "--num-epochs: 10", "--num-epochs 1"),
    ({"surrogate": "log_prob", "num_epochs": 2}, "--num-epochs: 2", "--num-epochs 1"),
    ({"surrogate": "detached_ratio"}, "--num-epochs: 10", "--num-epochs 1"),
    ({"surrogate": "trust_region"}, "--num-epochs: 10", "--num-epochs 1"),
    ({"algo": "trpo", "overlap": True}, "--overlap", "--surrogate clip or importance"),
    (
        {"algo": "trpo", "normalize_over": "minibatch"},
        "--normalize-over: minibatch with --surrogate trust_region",
        "--normalize-over batch",
    ),
    (
        {"algo": "a2c", "normalize_over": "minibatch"},
        "--normalize-over: minibatch with --surrogate log_prob",
        "--surrogate clip",
    ),
    (
        {"loss_average": "per_episode", "normalize_over": "minibatch"},
        "--normalize-over: minibatch with --loss-average per_episode",
        "--loss-average per_step",
    ),
    (
        {"advantage": "reward_to_go", "baseline": "none", "episodes_per_env": 0},
        "--episodes-per-env: 0",
        "--advantage reward_to_go",
    ),
    (
        {"advantage": "total_return", "baseline": "none", "episodes_per_env": 0},
        "--episodes-per-env: 0",
        "--advantage total_return",
    ),
    (
        {"algo": "reinforce", "num_workers": 0, "num_envs": 1},
        "--baseline mean",
        "--num-envs or --episodes-per-env",
    ),
    (
        {"advantage": "reward_to_go", "baseline": "time", "num_workers": 0, "num_envs": 1},
        "--baseline time",
        "--num-envs or --episodes-per-env",
    ),
    ({"num_workers": 3, "num_slots": 2}, "--num-slots: 2", "--num-workers"),
    ({"num_workers": 0, "address": "auto"}, "--address: auto", "--num-workers 0"),
    ({"num_workers": 2, "min_workers": 3}, "--min-workers: 3", "--num-workers 2"),
    (
        {"num_workers": 1, "num_envs": 2, "num_steps": 4, "minibatch_size": 9},
        "--minibatch-size: 9",
        "batch of 8",
    ),
]


@pytest.mark.parametrize(("settings", "named", "allowed"), WRONG + ILLEGAL)
def test_a_wrong_value_or_combination_is_one_message_with_flag_value_and_what_is_allowed(
    settings: dict[str, Any], named: str, allowed: str
) -> None:
    with pytest.raises(InputError) as raised:
        Config(**settings)
    message = str(raised.value)
    assert named in message
    assert allowed in message
    assert len(message) < 250
    assert "\n" not in message


@pytest.mark.parametrize(
    "settings",
    [
        {"gamma": 1},
        {"gamma": 0.0},
        {"minibatch_size": None},
        {"minibatch_size": 2048},
        {"target_kl": 0.01},
        {"num_workers": 0, "num_envs": 1, "num_steps": 2, "minibatch_size": 1},
        {"algo": "reinforce", "baseline": "none", "num_workers": 0, "num_envs": 1},
        {"algo": "reinforce", "num_workers": 0, "num_envs": 1, "episodes_per_env": 2},
        {"advantage": "reward_to_go", "surrogate": "clip"},
        {"advantage": "total_return", "baseline": "mean"},
        {"episodes_per_env": 2, "minibatch_size": 10**6},
        {"seed": 2**63 - 1},
        {"hidden_sizes": ()},
        {"advantage": "n_step", "bootstrap_steps": 1},
        {"advantage": "n_step", "bootstrap_steps": "inf", "episodes_per_env": 0},
        {"advantage": "reward_to_go", "episodes_per_env": 0},
        {"optimizer": "sgd", "momentum": 0.0},
        {"optimizer": "sgd", "momentum": 1},
        {"adam_betas": (0, 0.0), "rmsprop_decay": 0},
        {"value_hidden_sizes": ()},
        {"log_std_init": -5},
        {"log_std_init": 1.99, "log_std": "state"},
        {"value_clip": 0.2, "value_epochs": 3},
        {"surrogate": "importance", "num_epochs": 4, "importance_clip": 10.0},
        {"num_workers": 2, "min_workers": 2},
        {"num_workers": 0, "min_workers": 3},
        {"wait_for_resources": 0, "recovery_every": 1},
        {"learner_label": "ray.io/accelerator-type=H100", "worker_label": "k=a=b"},
    ],
)
def test_the_edges_of_what_is_allowed_are_allowed(settings: dict[str, Any]) -> None:
    config = Config(**settings)
    for name, value in settings.items():
        assert getattr(config, name) == value


def choices(name: str) -> tuple[Any, ...]:
    """List the values that a setting chooses from."""
    return typing.get_args(hints()[name])


BOOTSTRAPS = {("n_step", 1), ("n_step", 5), ("gae", 5), ("vtrace", 5)}
"""Advantages and bootstrap_steps whose credit contains V."""
ALL_REWARDS = {("total_return", 5), ("reward_to_go", 5), ("n_step", "inf")}
ONE_STEP = {"log_prob", "detached_ratio", "trust_region"}


def test_the_two_kinds_of_advantages_are_all_that_there_are() -> None:
    assert {name for name, _ in BOOTSTRAPS | ALL_REWARDS} == set(choices("advantage"))


def test_what_bootstraps_takes_a_critic_and_every_other_combination_is_legal() -> None:
    names = ("baseline", "surrogate", "importance", "loss_average", "normalize_advantages")
    values: list[tuple[Any, ...]] = [*map(choices, names[:-1]), (True, False)]
    legal = 0
    for (advantage, steps), *rest in itertools.product(BOOTSTRAPS | ALL_REWARDS, *values):
        settings: dict[str, Any] = dict(zip(names, rest, strict=True))
        if (advantage, steps) in BOOTSTRAPS and settings["baseline"] != "value":
            continue
        epochs = 1 if settings["surrogate"] in ONE_STEP else 3
        settings |= {"advantage": advantage, "bootstrap_steps": steps, "num_epochs": epochs}
        config = config_of({**settings, "num_steps": 64})
        # whole episodes where nothing can stand for the rest of one
        needs_episodes = (advantage, steps) in ALL_REWARDS
        if advantage != "total_return" and settings["baseline"] == "value":
            needs_episodes = False
        assert config.episodes == int(needs_episodes)
        # neither of the two decides on what is resolved
        if settings["normalize_advantages"] and settings["loss_average"] == "per_step":
            assert config.resolved().resolved() == config.resolved()
        legal += 1
    # (4 that bootstrap and 3 x 4 others) x 7 surrogates x 3 x 2 x 2
    assert legal == 16 * 84


@pytest.mark.parametrize("baseline", ["none", "mean", "time", "value"])
def test_n_step_over_all_rewards_takes_any_baseline_and_a_finite_one_a_critic(
    baseline: str,
) -> None:
    settings: dict[str, Any] = {"advantage": "n_step", "baseline": baseline}
    assert not Config(**settings, bootstrap_steps="inf").bootstraps
    if baseline == "value":
        assert Config(**settings, bootstrap_steps=3).bootstraps
    else:
        with pytest.raises(InputError, match="--baseline value"):
            Config(**settings, bootstrap_steps=3)


def test_an_open_range_leaves_its_end_out() -> None:
    assert 0 in Range(0)
    assert 0 not in Range(0, open_low=True)
    assert 1 in Range(0, 1)
    assert math.nextafter(1, 2) not in Range(0, 1)
    assert math.inf not in Range(0)


def test_a_pattern_is_for_the_whole_text() -> None:
    label = Pattern(r"[^=\s]+=\S+", "of the form key=value")
    assert all(text in label for text in ("zone=a", "ray.io/node-group=cpu", "key==", "k=v=w"))
    refused = ("", "=", "zone", "zone=", "=a", "zone=a b", "zone =a", "zone=a\n", " zone=a")
    assert not any(text in label for text in refused)
