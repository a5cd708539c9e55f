"""What has no effect is said; what has one is not."""

from typing import Any

import pytest

from distpg.config import Config, presets
from distpg.config_file import read_settings, recipes
from distpg.idle import idle_settings


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"momentum": 0.1}, ["--momentum has no effect without --optimizer sgd"]),
        ({"momentum": 0.1, "optimizer": "sgd"}, []),
        ({"bootstrap_steps": 3}, ["--bootstrap-steps has no effect without --advantage n_step"]),
        ({"bootstrap_steps": 3, "advantage": "n_step"}, []),
        (
            {"importance_clip": 1.0},
            ["--importance-clip has no effect without --surrogate importance"],
        ),
        ({"kl_target": 1.0}, ["--kl-target has no effect without anything kl_adaptive"]),
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
            {"algo": "a2c", "target_kl": 0.1},
            ["--target-kl has no effect without several steps a batch"],
        ),
    ],
    ids=str,
)
def test_a_setting_without_effect_is_named_with_what_it_needs(
    settings: dict[str, Any], expected: list[str]
) -> None:
    assert idle_settings(Config(**settings)) == expected


@pytest.mark.parametrize("algo", presets())
def test_a_preset_has_nothing_idle_of_its_own(algo: str) -> None:
    assert idle_settings(Config(algo=algo)) == []


@pytest.mark.parametrize("recipe", recipes())
def test_no_recipe_sets_what_has_no_effect(recipe: str) -> None:
    assert idle_settings(Config(**read_settings(recipe))) == []
