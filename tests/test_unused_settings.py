"""What has no effect is said; what has one is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distpg import Watcher, train
from distpg.config.config import Config, presets
from distpg.config.files import read_settings, recipes
from distpg.config.values import flag
from distpg.run.unused_settings import unused_settings
from distpg.spaces import ActionSpec, Leaf, ObsSpec
from tests.settings import config_of
from tests.test_watchers import tiny

VECTOR = ObsSpec((Leaf("obs", (), (6,), "float32", "vector"),))
BOX = ActionSpec("continuous", (2,), "float32", low=(-1.0, -1.0), high=(1.0, 1.0))
CHOICE = ActionSpec("categorical", (), "int64", (3,), (0,))
IMAGE = ObsSpec((Leaf("obs", (), (84, 84, 3), "uint8", "image"),))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"momentum": 0.1}, ["--momentum has no effect without --optimizer sgd"]),
        ({"momentum": 0.1, "optimizer": "sgd"}, []),
        ({"adam_betas": (0.5, 0.9)}, []),
        (
            {"adam_betas": (0.5, 0.9), "optimizer": "rmsprop", "rmsprop_decay": 0.9},
            ["--adam-betas has no effect without --optimizer adam"],
        ),
        (
            {"rmsprop_decay": 0.9},
            ["--rmsprop-decay has no effect without --optimizer rmsprop or rmsprop_tf"],
        ),
        (
            {"optimizer_epsilon": 1e-3, "optimizer": "sgd"},
            [
                "--optimizer-epsilon has no effect without --optimizer adam, rmsprop or rmsprop_tf",
            ],
        ),
        (
            {"value_clip_schedule": "linear"},
            ["--value-clip-schedule has no effect without --value-clip"],
        ),
        ({"value_clip_schedule": "kl_adaptive", "value_clip": 1.0, "kl_target": 1.0}, []),
        (
            {"clip_obs": 5.0, "normalize_obs": False},
            ["--clip-obs has no effect without --normalize-obs"],
        ),
        ({"clip_rewards": 5.0}, ["--clip-rewards has no effect without --normalize-rewards"]),
        ({"clip_rewards": 5.0, "normalize_rewards": True}, []),
        (
            {"recurrent_layers": 2, "recurrent_critic": "own"},
            [
                "--recurrent-layers has no effect without --recurrent",
                "--recurrent-critic has no effect without --recurrent",
            ],
        ),
        ({"recurrent": "gru", "recurrent_layers": 2, "recurrent_critic": "none"}, []),
        (
            {"algo": "reinforce", "value_hidden_sizes": (8,), "weight_decay": 0.1},
            ["--value-hidden-sizes has no effect without --baseline value"],
        ),
        (
            {"fisher_subsampling": 2},
            ["--fisher-subsampling has no effect without --surrogate trust_region"],
        ),
        ({"bootstrap_steps": 3}, ["--bootstrap-steps has no effect without --advantage n_step"]),
        ({"bootstrap_steps": 3, "advantage": "n_step"}, []),
        (
            {"importance_clip": 1.0},
            ["--importance-clip has no effect without --surrogate importance"],
        ),
        (
            {"kl_target": 1.0},
            ["--kl-target has no effect without a kl_adaptive --surrogate or schedule"],
        ),
        ({"kl_target": 1.0, "lr_schedule": "kl_adaptive"}, []),
        ({"algo": "ppo_kl", "kl_target": 1.0, "kl_coef": 2.0}, []),
        (
            {"algo": "reinforce", "vf_coef": 9.0, "num_steps": 7},
            [
                "--vf-coef has no effect without --baseline value",
                "--num-steps has no effect without --episodes-per-env 0",
            ],
        ),
        (
            {"max_kl": 0.1, "line_search_steps": 5},
            [
                "--max-kl has no effect without --surrogate trust_region",
                "--line-search-steps has no effect without --surrogate trust_region",
            ],
        ),
        ({"algo": "trpo", "max_kl": 0.1, "learning_rate": 1e-2}, []),
        (
            {"algo": "trpo", "advantage": "reward_to_go", "baseline": "mean", "optimizer": "sgd"},
            ["--optimizer has no effect without --baseline value or another --surrogate"],
        ),
        (
            {"algo": "a2c", "target_kl": 0.1},
            ["--target-kl has no effect without several optimizer steps per batch"],
        ),
        (
            {"algo": "trpo", "recompute_advantages": True},
            ["--recompute-advantages has no effect without several epochs"],
        ),
        (
            {"recompute_advantages": True, "advantage": "reward_to_go", "baseline": "none"},
            ["--recompute-advantages has no effect without --baseline value"],
        ),
        ({"recompute_advantages": True}, []),
        ({"normalize_over": "minibatch"}, []),
        (
            {"normalize_over": "minibatch", "normalize_advantages": False},
            ["--normalize-over has no effect without --normalize-advantages"],
        ),
        (
            {"normalize_over": "minibatch", "minibatch_size": None},
            ["--normalize-over has no effect without --minibatch-size"],
        ),
    ],
    ids=str,
)
def test_a_setting_without_effect_is_named_with_what_it_needs(
    settings: dict[str, Any], expected: list[str]
) -> None:
    assert unused_settings(Config(**settings), VECTOR, BOX) == expected


def test_what_sees_decides_what_has_an_effect() -> None:
    config = Config(precision="bf16", image_encoder="impala", hidden_sizes=(8,))
    assert unused_settings(config, VECTOR, BOX) == [
        "--image-encoder has no effect without image observations",
        "--precision has no effect without image observations",
    ]
    config = replace(config, activation="relu", clip_obs=5.0)
    assert unused_settings(config, IMAGE, BOX) == [
        "--hidden-sizes has no effect without observations other than images",
        "--activation has no effect without observations other than images, or "
        "--value-hidden-sizes",
        "--clip-obs has no effect without vector observations",
    ]
    config = replace(config, activation="tanh", clip_obs=10.0)
    besides = "--hidden-sizes has no effect without observations other than images"
    assert unused_settings(config, IMAGE, BOX) == [besides]
    assert unused_settings(config, ObsSpec((*VECTOR.leaves, *IMAGE.leaves)), BOX) == []


@pytest.mark.parametrize("seen", [VECTOR, IMAGE], ids=["vector", "image"])
def test_an_encoder_of_the_users_may_take_any_setting_of_networks(seen: ObsSpec) -> None:
    config = Config(encoder="own:Net", precision="bf16", image_encoder="impala", hidden_sizes=(8,))
    assert unused_settings(config, seen, BOX) == []


def test_what_is_done_decides_what_has_an_effect() -> None:
    config = Config(action_distribution="squashed_gaussian", log_std="state", log_std_init=-1.0)
    assert unused_settings(config, VECTOR, BOX) == []
    assert unused_settings(config, VECTOR, CHOICE) == [
        "--action-distribution has no effect without continuous actions",
        "--log-std has no effect without continuous actions",
        "--log-std-init has no effect without continuous actions",
    ]
    config = Config(action_scale="unit")
    need = "--action-scale has no effect without finite bounds of actions other than [-1, 1]"
    assert unused_settings(config, VECTOR, BOX) == unused_settings(config, VECTOR, CHOICE) == [need]
    wide = replace(BOX, low=(-2.0, -1.0))
    assert unused_settings(config, VECTOR, wide) == []
    config = replace(config, action_distribution="beta")
    assert unused_settings(config, VECTOR, wide) == [
        "--action-scale has no effect without --action-distribution gaussian or gsde"
    ]
    assert unused_settings(replace(config, action_distribution="gsde"), VECTOR, wide) == []
    config = Config(action_distribution="gsde", sde_sample_freq=4, log_std="state")
    assert unused_settings(config, VECTOR, BOX) == [
        "--log-std has no effect without --action-distribution gaussian or squashed_gaussian"
    ]
    assert "--sde-sample-freq has no effect without continuous actions" in unused_settings(
        config, VECTOR, CHOICE
    )
    config = Config(sde_sample_freq=4)
    assert unused_settings(config, VECTOR, BOX) == [
        "--sde-sample-freq has no effect without --action-distribution gsde"
    ]
    config = Config(action_distribution="beta", log_std="state")
    assert unused_settings(config, VECTOR, BOX) == [
        "--log-std has no effect without a Gaussian --action-distribution"
    ]


def test_what_places_processes_has_no_effect_without_any() -> None:
    settings: dict[str, Any] = {
        "max_restarts": 1,
        "min_workers": 1,
        "placement": "spread",
        "learner_label": "gpu=H100",
        "worker_label": "zone=a",
        "wait_for_resources": 0.0,
        "recovery_every": 1,
    }
    assert unused_settings(config_of({**settings, "num_workers": 1}), VECTOR, BOX) == []
    assert unused_settings(config_of({**settings, "num_workers": 0}), VECTOR, BOX) == [
        f"{flag(name)} has no effect without --num-workers" for name in settings
    ]


def test_a_watcher_may_ask_for_evaluations_but_not_those_of_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(name: str, *watchers: Any) -> list[str]:
        config = tiny(total_steps=1, eval_episodes=3, eval_delay=2, max_seconds=60)
        train(config, watchers=watchers, run_dir=tmp_path / name)
        lines = capsys.readouterr().out.splitlines()
        return [line for line in lines if "no effect" in line and "--eval-" in line]

    need = "has no effect without --eval-every or a watcher that asks for evaluations"
    assert said("without") == [f"--eval-episodes {need}", f"--eval-delay {need}"]
    assert said("with", Watcher()) == []


@pytest.mark.parametrize("algo", presets())
def test_a_preset_has_nothing_idle_of_its_own(algo: str) -> None:
    assert unused_settings(Config(algo=algo), VECTOR, CHOICE) == []


@pytest.mark.parametrize("recipe", recipes())
def test_no_recipe_sets_what_has_no_effect(recipe: str) -> None:
    config: Config = Config(**read_settings(recipe))
    seen = IMAGE if str(config.env_id).startswith("ALE/") else VECTOR
    actions = replace(BOX, low=(-2.0, -2.0), high=(2.0, 2.0))
    assert unused_settings(config, seen, actions) == []
