"""Configuration files: complete, read back as written, and refused with one message."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from distpg import Config, InputError, load_config
from distpg.config.config import hints
from distpg.config.files import read_settings, recipes, to_toml
from distpg.config.flags import ConfigFlags, read_flags
from distpg.config.values import flag

numbers = st.floats(0, 1e6, exclude_min=True, allow_subnormal=True)
fractions = st.floats(0, 1)
counts = st.integers(1, 1000)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
wrappers = st.sampled_from(["a:B", 'a.b:C{"d": [1, "{copy}"]}'])
settings_of_any_run = st.fixed_dictionaries(
    {},
    optional={
        "algo": st.sampled_from(["ppo", "a2c", "reinforce"]),
        "env_id": texts.filter(bool),
        "env_kwargs": st.dictionaries(texts, json_values, max_size=3),
        "env_wrapper": st.lists(wrappers, max_size=3).map(tuple),
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
        "value_hidden_sizes": st.none() | st.lists(counts, max_size=3).map(tuple),
        "activation": st.sampled_from(["tanh", "relu", "elu", "silu", "gelu", "leaky_relu"]),
        "adam_betas": st.tuples(fractions, fractions).filter(lambda betas: max(betas) < 1),
        "optimizer_epsilon": st.none() | numbers,
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


@given(settings=settings_of_any_run)
def test_a_configuration_is_the_same_from_flags(settings: dict[str, Any]) -> None:
    config = Config(**settings)
    assert read_flags(ConfigFlags, as_words(config), "train").checked() == config


def test_wrappers_are_added_in_the_order_of_their_flags(tmp_path: Path) -> None:
    file = tmp_path / "wrapped.toml"
    file.write_text('env_wrapper = ["a:A"]')
    words = ["--env-wrapper", "b:B", "--config", str(file), "--env-wrapper", 'c:C{"n": 1}']
    found = read_flags(ConfigFlags, words, "train").checked().env_wrapper
    assert found == ("a:A", "b:B", 'c:C{"n": 1}')


def as_words(config: Config) -> list[str]:
    """Spell a configuration as a command line."""
    words: list[str] = []
    for name, value in vars(config).items():
        if isinstance(value, bool):
            words.append(flag(name if value else f"no_{name}"))
        elif name in ("env_wrapper", "watcher"):
            # given once for each
            words += [word for wrapper in value for word in (flag(name), wrapper)]
        elif isinstance(value, tuple):
            words += [flag(name), *map(str, cast("tuple[int, ...]", value))]
        elif isinstance(value, dict):
            words.append(f"{flag(name)}={json.dumps(value)}")
        else:
            words.append(f"{flag(name)}={'none' if value is None else value}")
    return words


keys = st.sampled_from(sorted(hints())) | texts
toml_values = json_values | st.dates() | st.floats() | st.sampled_from(["none", "inf", "auto"])


@given(settings=st.dictionaries(keys, toml_values, max_size=4))
def test_any_table_is_a_configuration_or_refused(
    settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert_legal_or_refused(tomli_w.dumps(settings).encode(), tmp_path_factory)


lines = st.sampled_from(sorted(hints())).flatmap(
    lambda name: st.text(max_size=12).map(lambda text: f"{name} = {text}")
)


@given(text=st.text(max_size=40).map(str.encode) | st.binary(max_size=40) | lines.map(str.encode))
def test_any_text_is_a_configuration_or_refused(
    text: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert_legal_or_refused(text, tmp_path_factory)


def assert_legal_or_refused(content: bytes, folders: pytest.TempPathFactory) -> None:
    file = folders.getbasetemp() / "any.toml"
    file.write_bytes(content)
    try:
        config = load_config(str(file))
    except InputError as error:
        assert len(str(error)) <= 750  # noqa: PT017
    else:
        assert Config(**vars(config)) == config


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
