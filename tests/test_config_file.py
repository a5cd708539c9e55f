"""Configuration files: complete, read back as written, and refused with one message."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distpg import Config, InputError, load_config
from distpg.config_file import read_settings, recipes, to_toml

numbers = st.floats(0, 1e6, exclude_min=True, allow_subnormal=True)
fractions = st.floats(0, 1)
counts = st.integers(1, 1000)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
settings_of_any_run = st.fixed_dictionaries(
    {},
    optional={
        "algo": st.sampled_from(["ppo", "a2c", "reinforce"]),
        "env_id": texts.filter(bool),
        "env_kwargs": st.dictionaries(texts, json_values, max_size=3),
        "num_envs": st.integers(64, 200),
        "num_slots": st.integers(2, 50),
        "total_steps": st.integers(1, 10**15),
        "seed": st.integers(0, 2**63 - 1),
        "stop_at_return": st.none() | st.floats(-1e300, 1e300),
        "init_from": st.none() | texts.filter(lambda text: text not in ("", "none")),
        "gamma": fractions | st.sampled_from([0, 1]),
        "gae_lambda": fractions,
        "learning_rate": numbers,
        "clip_coef": numbers,
        "ent_coef": st.floats(0, 1e6),
        "target_kl": st.none() | numbers,
        "hidden_sizes": st.lists(counts, min_size=1, max_size=4).map(tuple),
        "activation": st.sampled_from(["tanh", "relu", "elu", "silu"]),
        "normalize_obs": st.booleans(),
        "normalize_rewards": st.booleans(),
        "device": st.sampled_from(["auto", "cpu", "cuda"]),
        "learner_threads": st.none() | counts,
        "checkpoint_every": st.integers(0, 1000),
        "lr_schedule": st.sampled_from(["constant", "linear"]),
    },
)


@given(settings=settings_of_any_run)
def test_a_configuration_is_read_back_as_it_was_written(
    settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = Config(**settings)
    file = tmp_path_factory.getbasetemp() / "round-trip.toml"
    for written in (config, config.resolved()):
        file.write_text(to_toml(written), "utf-8")
        assert load_config(str(file)) == written
        assert to_toml(load_config(str(file))) == to_toml(written)


def test_a_written_configuration_is_complete() -> None:
    import tomllib

    assert tomllib.loads(to_toml(Config())).keys() == vars(Config()).keys()


def write(folder: Path, text: str) -> str:
    file = folder / "my.toml"
    file.write_text(text)
    return str(file)


def test_a_file_changes_its_algos_preset_and_keywords_change_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'algo = "a2c"\nnum_envs = 3\nminibatch_size = "none"\n')
    config = load_config(file, num_steps=99)
    assert config.num_epochs == Config(algo="a2c").num_epochs == 1
    assert (config.num_envs, config.num_steps, config.minibatch_size) == (3, 99, None)


def test_a_path_comes_before_a_recipe_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_settings("cartpole-ppo")["env_id"] == "CartPole-v1"
    Path("cartpole-ppo").write_text('env_id = "Own-v0"')
    assert read_settings("cartpole-ppo") == {"env_id": "Own-v0"}


@pytest.mark.parametrize(
    ("text", "offenders"),
    [
        ("learning_rat = 0.1", ["learning_rat", "did you mean learning_rate"]),
        ("[policy]\nhidden_sizes = [8]", ["policy"]),
        ("gamma = nan", ["--gamma", "nan"]),
        ("gamma = inf", ["--gamma", "inf"]),
        ('gamma = "0.9"', ["--gamma", "'0.9'"]),
        ("num_envs = 0", ["--num-envs", "at least 1"]),
        ("num_envs = 1.5", ["--num-envs", "1.5", "whole number"]),
        ("num_envs = 1979-05-27", ["--num-envs", "whole number"]),
        ('hidden_sizes = ["a"]', ["--hidden-sizes"]),
        ("hidden_sizes = [0]", ["--hidden-sizes", "at least 1"]),
        ('algo = "sac"', ["--algo", "sac", "ppo"]),
        ("algo = 3", ["--algo", "3", "ppo"]),
        ('algo = ["ppo"]', ["--algo", "ppo"]),
        ("algo = { name = 'ppo' }", ["--algo", "ppo"]),
        ('num_envs = "none"', ["--num-envs", "none"]),
        ("env_kwargs = 3", ["--env-kwargs", "3"]),
        ("num_envs = ", ["cannot read"]),
        ("num_envs = 1\nnum_envs = 2", ["cannot read"]),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong_in_it(
    tmp_path: Path, text: str, offenders: list[str]
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(InputError) as raised:
        load_config(file)
    message = str(raised.value)
    for word in ("--config", file, *offenders):
        assert word in message
    assert message.count("--config") == 1
    assert len(message) < 250 + len(file)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "binary.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read"):
        load_config(str(file))


def test_a_missing_file_or_misspelt_recipe_is_answered_with_the_recipes(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        load_config("cartpol-ppo")
    message = str(raised.value)
    assert "did you mean cartpole-ppo" in message
    assert all(name in message for name in recipes())
    with pytest.raises(InputError, match=r"config\.toml"):
        load_config(str(tmp_path))


def test_the_recipes_of_the_issue_are_shipped() -> None:
    assert set(recipes()) >= {
        "cartpole-ppo",
        "cartpole-reinforce",
        "lunarlander-ppo",
        "pendulum-ppo",
        "halfcheetah-ppo",
        "hopper-ppo",
        "walker2d-ppo",
        "pong-ppo",
    }
