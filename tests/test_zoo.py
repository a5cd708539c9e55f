"""Hyperparameter files of rl-zoo3: each key becomes its setting, or is refused by name."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from distpg import InputError, load_config
from distpg.config.zoo.expressions import DottedName, parse
from distpg.config.zoo.translation import Translation, translate
from distpg.envs import wrappers
from tests.test_cli import run_main

NAMES = ("nn.ReLU", "RMSpropTFLike")
MLP = "n_timesteps: !!float 1e5\npolicy: MlpPolicy\n"
CNN = "n_timesteps: !!float 1e5\npolicy: CnnPolicy\n"
LSTM = "n_timesteps: !!float 1e5\npolicy: MlpLstmPolicy\n"


def entry_of(
    folder: Path, text: str, algorithm: str = "ppo", env_id: str = "Env-v0"
) -> Translation:
    """Translate an entry of the environment, which is its file's only one."""
    file = folder / f"{algorithm}.yml"
    name = "atari" if env_id.startswith("ALE/") else env_id
    file.write_text(f"{name}:\n" + "".join(f"  {line}\n" for line in text.splitlines()))
    return translate(str(file), env_id)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        (" -2.5e-3\n", -0.0025),
        ("[True, None, 'a']", [True, None, "a"]),
        ("(1, (2,))", (1, (2,))),
        ("{'norm_obs': False}", {"norm_obs": False}),
        ("dict()", {}),
        ("dict(a=[256], b=dict(c=nn.ReLU,),\n )", {"a": [256], "b": {"c": "nn.ReLU"}}),
        ("RMSpropTFLike", "RMSpropTFLike"),
    ],
)
def test_an_expression_is_read(text: str, value: object) -> None:
    assert parse(text, NAMES) == value


def test_a_name_is_not_a_text() -> None:
    assert isinstance(parse("nn.ReLU", NAMES), DottedName)
    assert not isinstance(parse("'nn.ReLU'", NAMES), DottedName)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("__import__('os').mkdir('made')", "__import__"),
        ("dict(a=open('made', 'w'))", "open('made', 'w')"),
        ("[open('made', 'w') for x in (1,)]", "for x in"),
        ("nn.ReLU()", "nn.ReLU()"),
        ("nn.ReLU.__class__", "nn.ReLU.__class__"),
        ("nn.Softplus", "nn.Softplus"),
        ("dict([('a', 1)])", "dict([('a', 1)])"),
        ("dict(**{'a': 1})", "None"),
        ("{**{}}", "None"),
        ("{1: 2}", "1"),
        ("{'a': 1, 'a': 2}", "'a'"),
        ("dict(a=1, a=2)", "'a'"),
        ("f'{1}'", "f'{1}'"),
        ("1 + 1", "1 + 1"),
        ("lambda: 0", "lambda"),
        ("b'a'", "b'a'"),
        ("[*(1, 2)]", "*(1, 2)"),
        ("1j", "1j"),
        ("...", "..."),
        ("a = 1", "a = 1"),
        ("", "''"),
        ("dict(a=1", "dict(a=1"),
        ("(" * 5000, "(((("),
        ("-" * 100_000 + "1", "----"),
        ("\0", "x00"),
    ],
)
def test_what_is_more_than_literals_and_names_is_refused_and_not_run(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        parse(text, NAMES)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 300
    assert list(tmp_path.iterdir()) == []


COMMON = {
    "env_id": "Env-v0",
    "total_steps": 100_000,
    "frame_stack": 1,
    "num_workers": 0,
    "num_slots": 1,
    "num_envs": 1,
    "gamma": 0.99,
    "normalize_obs": False,
    "normalize_rewards": False,
    "hidden_sizes": (64, 64),
    "activation": "tanh",
    "orthogonal_init": True,
    "action_distribution": "gaussian",
    "action_scale": "unit",
    "log_std_init": 0.0,
    "lr_schedule": "constant",
    "weight_decay": 0.0,
}
ADAM = {"optimizer": "adam", "optimizer_epsilon": 1e-5, "adam_betas": (0.9, 0.999)}
PPO = {
    **COMMON,
    **ADAM,
    "algo": "ppo",
    "num_steps": 2048,
    "minibatch_size": 64,
    "num_epochs": 10,
    "learning_rate": 3e-4,
    "gae_lambda": 0.95,
    "normalize_advantages": True,
    "normalize_over": "minibatch",
    "clip_coef": 0.2,
    "clip_schedule": "constant",
    "value_clip": None,
    "ent_coef": 0.0,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "target_kl": None,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "ppo": PPO,
    "ppo_lstm": {
        **PPO,
        "num_steps": 128,
        # as many as the batch has
        "minibatch_size": 128,
        "sequence_length": 128,
        "recurrent": "lstm",
        "recurrent_size": 256,
        "recurrent_layers": 1,
        "recurrent_critic": "own",
    },
    "a2c": {
        **COMMON,
        "algo": "a2c",
        "num_steps": 5,
        "minibatch_size": None,
        "num_epochs": 1,
        "learning_rate": 7e-4,
        "gae_lambda": 1.0,
        "normalize_advantages": False,
        "ent_coef": 0.0,
        "vf_coef": 0.5,
        "max_grad_norm": 0.5,
        "optimizer": "rmsprop",
        "rmsprop_decay": 0.99,
        "optimizer_epsilon": 1e-5,
    },
    "trpo": {
        **COMMON,
        **ADAM,
        "algo": "trpo",
        "num_steps": 2048,
        "minibatch_size": 128,
        "num_epochs": 1,
        "learning_rate": 1e-3,
        "gae_lambda": 0.95,
        "normalize_advantages": True,
        "max_kl": 0.01,
        "cg_iterations": 15,
        "cg_damping": 0.1,
        "line_search_steps": 10,
        "fisher_subsampling": 1,
        "value_epochs": 10,
        "ent_coef": 0.0,
        "vf_coef": 1.0,
        "max_grad_norm": 1e9,
    },
}


@pytest.mark.parametrize("algorithm", DEFAULTS)
def test_what_an_entry_leaves_out_has_the_defaults_of_stable_baselines3(
    algorithm: str, tmp_path: Path
) -> None:
    text = LSTM if algorithm == "ppo_lstm" else MLP
    assert dict(entry_of(tmp_path, text, algorithm).settings) == DEFAULTS[algorithm]


KWARGS = 'policy_kwargs: "dict({})"'
KEYS: list[tuple[str, str, dict[str, Any]]] = [
    ("ppo", "n_envs: 8", {"num_workers": 2, "num_slots": 2, "num_envs": 4}),
    ("ppo", "n_envs: 3", {"num_workers": 0, "num_slots": 1, "num_envs": 3}),
    ("ppo", "n_steps: 256", {"num_steps": 256}),
    ("ppo", "batch_size: 32", {"minibatch_size": 32}),
    # 2 x 16 steps are less than a minibatch, which is then the batch
    ("ppo", "n_envs: 2\nn_steps: 16", {"minibatch_size": None, "num_envs": 1, "num_steps": 16}),
    ("ppo", "n_envs: 4\nn_steps: 16", {"minibatch_size": 64, "num_steps": 16}),
    ("ppo", "gamma: 0.9", {"gamma": 0.9}),
    ("ppo", "gae_lambda: 0.8", {"gae_lambda": 0.8}),
    ("ppo", "n_epochs: 20", {"num_epochs": 20}),
    ("ppo", "ent_coef: 0.01", {"ent_coef": 0.01}),
    ("ppo", "vf_coef: 0.19", {"vf_coef": 0.19}),
    ("ppo", "max_grad_norm: 5", {"max_grad_norm": 5}),
    ("ppo", "target_kl: 0.03", {"target_kl": 0.03}),
    ("ppo", "normalize_advantage: false", {"normalize_advantages": False}),
    ("ppo", "learning_rate: 2.5e-4", {"learning_rate": 2.5e-4, "lr_schedule": "constant"}),
    ("ppo", "learning_rate: lin_2.5e-4", {"learning_rate": 2.5e-4, "lr_schedule": "linear"}),
    ("ppo", "clip_range: lin_0.1", {"clip_coef": 0.1, "clip_schedule": "linear"}),
    ("ppo", "clip_range_vf: 0.2", {"value_clip": 0.2, "value_clip_schedule": "constant"}),
    ("ppo", "clip_range_vf: lin_0.3", {"value_clip": 0.3, "value_clip_schedule": "linear"}),
    ("ppo", "use_sde: true", {"action_distribution": "gsde", "sde_sample_freq": 0}),
    (
        "ppo",
        "use_sde: true\nsde_sample_freq: 4",
        {"action_distribution": "gsde", "sde_sample_freq": 4},
    ),
    (
        "ppo",
        "normalize: true",
        {
            "normalize_obs": True,
            "normalize_rewards": True,
            "clip_obs": 10.0,
            "clip_rewards": 10.0,
        },
    ),
    ("ppo", "normalize: false", {"normalize_obs": False, "normalize_rewards": False}),
    (
        "ppo",
        "normalize: \"{'norm_obs': False, 'norm_reward': True}\"",
        {"normalize_obs": False, "normalize_rewards": True, "clip_rewards": 10.0},
    ),
    (
        "ppo",
        'normalize: "dict(norm_reward=False, clip_obs=5.0)"',
        {"normalize_obs": True, "normalize_rewards": False, "clip_obs": 5.0},
    ),
    (
        "ppo",
        "gamma: 0.9\nnormalize: {gamma: 0.5, clip_reward: 5}",
        {
            "gamma": 0.9,
            "normalize_obs": True,
            "normalize_rewards": True,
            "clip_obs": 10.0,
            "clip_rewards": 5,
        },
    ),
    ("ppo", "frame_stack: 2", {"frame_stack": 2}),
    ("ppo", "env_kwargs: {size: [8, 9]}", {"env_kwargs": {"size": [8, 9]}}),
    (
        "ppo",
        "env_wrapper: minigrid.wrappers.FlatObsWrapper # a comment",
        {"env_wrapper": ("minigrid.wrappers:FlatObsWrapper",)},
    ),
    (
        "ppo",
        "env_wrapper:\n"
        "  - rl_zoo3.wrappers.FrameSkip:\n"
        "      skip: 2\n"
        "  - rl_zoo3.wrappers.YAMLCompatResizeObservation:\n"
        "      shape: [64, 64]\n"
        "  - gymnasium.wrappers.transform_observation.GrayscaleObservation:\n"
        "      keep_dim: true\n",
        {
            "env_wrapper": (
                'gymnasium.wrappers:RepeatAction{"num_repeats": 2}',
                'distpg.envs.wrappers:resize_observation{"shape": [64, 64]}',
                'gymnasium.wrappers.transform_observation:GrayscaleObservation{"keep_dim": true}',
            )
        },
    ),
    (
        "ppo",
        "env_wrapper: rl_zoo3.wrappers.FrameSkip",
        {"env_wrapper": ('gymnasium.wrappers:RepeatAction{"num_repeats": 4}',)},
    ),
    ("ppo", KWARGS.format("log_std_init=-2"), {"log_std_init": -2}),
    ("ppo", KWARGS.format("ortho_init=False"), {"orthogonal_init": False}),
    ("ppo", KWARGS.format("activation_fn=nn.ReLU"), {"activation": "relu"}),
    ("ppo", KWARGS.format("activation_fn=nn.GELU"), {"activation": "gelu"}),
    ("ppo", KWARGS.format("activation_fn=th.nn.LeakyReLU"), {"activation": "leaky_relu"}),
    ("ppo", KWARGS.format("net_arch=[32]"), {"hidden_sizes": (32,)}),
    (
        "ppo",
        KWARGS.format("net_arch=dict(pi=[256, 128], vf=[64])"),
        {"hidden_sizes": (256, 128), "value_hidden_sizes": (64,)},
    ),
    (
        "ppo",
        KWARGS.format("net_arch=[dict(pi=[8])]"),
        {"hidden_sizes": (8,), "value_hidden_sizes": ()},
    ),
    (
        "ppo",
        KWARGS.format("optimizer_kwargs=dict(betas=[0.5, 0.9])"),
        {"optimizer": "adam", "adam_betas": (0.5, 0.9), "optimizer_epsilon": 1e-8},
    ),
    (
        "ppo",
        KWARGS.format("optimizer_class=th.optim.SGD, optimizer_kwargs=dict(weight_decay=0.1)"),
        {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.1},
    ),
    (
        "a2c",
        KWARGS.format("optimizer_class=RMSpropTFLike, optimizer_kwargs=dict(eps=1e-5)"),
        {"optimizer": "rmsprop_tf", "rmsprop_decay": 0.99, "optimizer_epsilon": 1e-5},
    ),
    (
        "a2c",
        KWARGS.format("optimizer_class=th.optim.RMSprop"),
        {"optimizer": "rmsprop", "optimizer_epsilon": 1e-8},
    ),
    ("a2c", "rms_prop_eps: 0.001", {"optimizer": "rmsprop", "optimizer_epsilon": 0.001}),
    ("a2c", "use_rms_prop: false", ADAM),
    ("a2c", "use_rms_prop: true", {"optimizer": "rmsprop"}),
    ("trpo", "target_kl: 0.04", {"max_kl": 0.04}),
    ("trpo", "cg_max_steps: 25\ncg_damping: 0.01", {"cg_iterations": 25, "cg_damping": 0.01}),
    ("trpo", "n_critic_updates: 20", {"value_epochs": 20}),
    ("trpo", "line_search_max_iter: 5", {"line_search_steps": 5}),
    ("trpo", "sub_sampling_factor: 3", {"fisher_subsampling": 3}),
    (
        "ppo_lstm",
        KWARGS.format("lstm_hidden_size=64, n_lstm_layers=2, net_arch=dict(pi=[], vf=[])"),
        {"recurrent_size": 64, "recurrent_layers": 2, "hidden_sizes": ()},
    ),
    (
        "ppo_lstm",
        KWARGS.format("enable_critic_lstm=False"),
        {"recurrent_critic": "none", "hidden_sizes": (64, 64)},
    ),
    (
        "ppo_lstm",
        KWARGS.format("enable_critic_lstm=False, shared_lstm=True"),
        # after what is shared the critic has layers of its own
        {"recurrent_critic": "shared", "value_hidden_sizes": (64, 64)},
    ),
    (
        "ppo_lstm",
        "n_steps: 32\nbatch_size: 256\nn_envs: 8",
        {"num_steps": 32, "sequence_length": 32, "minibatch_size": 256},
    ),
    (
        "ppo_lstm",
        "n_steps: 512\nbatch_size: 64",
        {"num_steps": 512, "sequence_length": 64, "minibatch_size": 64},
    ),
    (
        "ppo_lstm",
        "n_steps: 512\nbatch_size: null",
        {"num_steps": 512, "sequence_length": 512, "minibatch_size": None},
    ),
]


@pytest.mark.parametrize(("algorithm", "text", "expected"), KEYS)
def test_a_key_becomes_a_setting(
    algorithm: str, text: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    policy = LSTM if algorithm == "ppo_lstm" else MLP
    found = entry_of(tmp_path, policy + text, algorithm).settings
    assert {name: found.get(name) for name in expected} == expected
    default = DEFAULTS[algorithm]
    changed = {name for name, value in found.items() if default.get(name, "") != value}
    copies = {"num_workers", "num_slots", "num_envs"}
    assert changed - copies <= expected.keys()


def test_images_have_no_hidden_layers_unless_the_entry_asks(tmp_path: Path) -> None:
    found = entry_of(tmp_path, CNN).settings
    assert found["hidden_sizes"] == ()
    assert "value_hidden_sizes" not in found
    text = CNN + KWARGS.format("net_arch=dict(pi=[256], vf=[256])")
    found = entry_of(tmp_path, text)
    assert found.settings["hidden_sizes"] == found.settings["value_hidden_sizes"] == (256,)
    assert any("no hidden layers after those of images" in note for note in found.notes)


ATARI = "stable_baselines3.common.atari_wrappers.AtariWrapper"


def test_the_wrapper_of_atari_is_what_ale_does(tmp_path: Path) -> None:
    text = f"{CNN}frame_stack: 4\nenv_wrapper:\n  - {ATARI}\n"
    found = entry_of(tmp_path, text, env_id="ALE/Pong-v5").settings
    assert found["env_kwargs"] == {
        "noop_max": 30,
        "frameskip": 4,
        "img_height": 84,
        "img_width": 84,
        "repeat_action_probability": 0.0,
        "life_loss_info": True,
        "stack_num": 4,
    }
    assert found["sign_rewards"] == "on"
    assert entry_of(tmp_path, text, env_id="ALE/Pong-v5").sources["env_kwargs"] == "env_wrapper"
    assert not found.keys() & {"env_wrapper", "frame_stack"}
    arguments = "{clip_reward: false, screen_size: 64, terminal_on_life_loss: false}"
    text = f"{CNN}env_wrapper:\n  - {ATARI}: {arguments}\n"
    entry = entry_of(tmp_path, text, env_id="ALE/Pong-v5")
    changed = {"img_width": 64, "stack_num": 1, "life_loss_info": False}
    assert entry.settings["sign_rewards"] == "off"
    assert changed.items() <= entry.settings["env_kwargs"].items()
    assert not any("lost life" in note for note in entry.notes)


REFUSED: list[tuple[str, str, str]] = [
    ("ppo", "n_step: 3\nverbos: 1", "n_step, verbos cannot be translated; did you mean n_steps"),
    ("ppo", "use_rms_prop: true", "use_rms_prop"),
    ("trpo", "ent_coef: 0.1", "ent_coef"),
    ("ppo", "callback: a.B", "callback"),
    ("ppo", "learning_rate: 1e-4", "1.0e-4"),
    ("ppo", "learning_rate: cos_1.0", "lin_NUMBER"),
    ("ppo", "clip_range: lin_x", "'lin_x'"),
    ("ppo", "n_envs: 2.5", "n_envs: 2.5"),
    ("ppo", "n_envs: true", "n_envs: True"),
    ("ppo", "n_envs: 0", "n_envs: 0"),
    ("ppo", "batch_size: many", "batch_size: 'many'"),
    ("ppo", "use_sde: 1", "use_sde: 1"),
    ("ppo", "normalize: 'True'", "normalize: True is not a table"),
    ("ppo", "normalize: {norm_obs_keys: [a]}", "norm_obs_keys"),
    ("ppo", "normalize: {gamma: 0.5}", "normalize: gamma 0.5"),
    ("ppo", "normalize: {epsilon: 0.1}", "epsilon"),
    ("ppo", "normalize: {norm_ob: 1}", "norm_ob"),
    ("ppo", "policy_kwargs: 3", "policy_kwargs: 3"),
    ("ppo", KWARGS.format("lstm_hidden_size=3"), "lstm_hidden_size"),
    ("ppo", KWARGS.format("use_expln=True"), "use_expln: True"),
    ("ppo", KWARGS.format("features_extractor_class=Own"), "'Own'"),
    ("ppo", KWARGS.format("activation_fn='nn.ReLU'"), "activation_fn"),
    ("ppo", KWARGS.format("activation_fn=th.optim.Adam"), "activation_fn"),
    ("ppo", KWARGS.format("optimizer_class=th.optim.AdamW"), "th.optim.AdamW"),
    ("ppo", KWARGS.format("optimizer_kwargs=dict(amsgrad=True)"), "amsgrad True"),
    ("ppo", KWARGS.format("optimizer_kwargs=dict(alpha=0.9)"), "alpha"),
    ("ppo", KWARGS.format("net_arch=dict(shared=[3])"), "shared"),
    ("ppo", KWARGS.format("net_arch=dict(pi=3)"), "net_arch"),
    ("ppo", "env_kwargs: dict(kind=nn.ReLU)", "'nn.ReLU' is not allowed; allowed are numbers"),
    ("ppo", "env_wrapper: Wrapper", "'Wrapper'"),
    ("ppo", "env_wrapper: [{a.B: {}, c.D: {}}]", "a.B"),
    ("ppo", "env_wrapper: {a.B: {when: 2001-01-01}}", "a.B"),
    (
        "ppo",
        "env_wrapper: [rl_zoo3.wrappers.FrameSkip, rl_zoo3.wrappers.HistoryWrapper, "
        "sb3_contrib.common.wrappers.TimeFeatureWrapper]",
        "rl_zoo3.wrappers.HistoryWrapper, sb3_contrib.common.wrappers.TimeFeatureWrapper cannot",
    ),
    ("ppo", "env_wrapper: [{rl_zoo3.wrappers.FrameSkip: {skips: 2}}]", "skips"),
    ("ppo", "vec_env_wrapper: stable_baselines3.common.vec_env.VecMonitor", "VecMonitor"),
    ("ppo", f"env_wrapper: {ATARI}", "ALE/"),
    ("ppo_lstm", KWARGS.format("shared_lstm=True"), "enable_critic_lstm"),
    ("ppo_lstm", KWARGS.format("lstm_kwargs=dict(dropout=0.1)"), "lstm_kwargs"),
]


@pytest.mark.parametrize(("algorithm", "text", "said"), REFUSED)
def test_what_cannot_be_translated_is_named(
    algorithm: str, text: str, said: str, tmp_path: Path
) -> None:
    policy = LSTM if algorithm == "ppo_lstm" else MLP
    with pytest.raises(InputError) as refused:
        entry_of(tmp_path, policy + text, algorithm)
    assert said in str(refused.value)
    assert f"{algorithm}.yml: Env-v0: " in str(refused.value)


@pytest.mark.parametrize(
    ("algorithm", "text", "said"),
    [
        ("ppo", "policy: MlpPolicy", "n_timesteps is missing"),
        ("ppo", "n_timesteps: 1\npolicy: MlpLstmPolicy", "MlpLstmPolicy"),
        ("ppo", "n_timesteps: 1\npolicy: my.Policy", "my.Policy"),
        ("ppo", "n_timesteps: -1\npolicy: MlpPolicy", "n_timesteps: -1"),
        ("ppo_lstm", MLP, "MlpLstmPolicy, CnnLstmPolicy"),
    ],
)
def test_an_entry_needs_steps_and_a_policy_of_its_algorithm(
    algorithm: str, text: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        entry_of(tmp_path, text, algorithm)
    assert said in str(refused.value)


def test_odd_lives_and_bare_games_of_atari_are_refused(tmp_path: Path) -> None:
    lives = f"{CNN}env_wrapper:\n  - {ATARI}:\n      terminal_on_life_loss: 3\n"
    for text, said in ((lives, "terminal_on_life_loss: 3"), (CNN, "preprocesses ALE's games")):
        with pytest.raises(InputError) as refused:
            entry_of(tmp_path, text, env_id="ALE/Pong-v5")
        assert said in str(refused.value)


FILE = """
default: &default
  n_timesteps: !!float 1e6
  policy: 'MlpPolicy'
Ant-v4:
  <<: *default
  gamma: 0.9
Ant-v2:
  <<: *default
  gamma: 0.8
Own-v0: {n_timesteps: 1.0, policy: MlpPolicy, gamma: 0.7}
"""


@pytest.fixture
def zoo(tmp_path: Path) -> str:
    """A file with entries of several environments."""
    file = tmp_path / "ppo.yml"
    file.write_text(FILE)
    return str(file)


def test_an_environment_has_its_own_entry_or_the_default(zoo: str) -> None:
    assert translate(zoo, "Own-v0").settings["gamma"] == 0.7
    own = translate(zoo, "my_module:Own-v0")
    assert own.settings["gamma"] == 0.7
    assert own.settings["env_id"] == "my_module:Own-v0"
    found = translate(zoo, "CartPole-v1")
    assert found.settings["gamma"] == 0.99
    assert found.title == "CartPole-v1 by the entry default of rl-zoo3's ppo.yml"


def test_an_entry_of_another_version_is_taken_only_by_name(zoo: str) -> None:
    with pytest.raises(InputError, match=r"no entry Ant-v5, but Ant-v4, Ant-v2; .* --entry Ant-v4"):
        translate(zoo, "Ant-v5")
    found = translate(zoo, "Ant-v5", entry="Ant-v4").settings
    assert (found["env_id"], found["gamma"]) == ("Ant-v5", 0.9)
    with pytest.raises(InputError, match=r"--entry: there is no 'Ant-v3'; did you mean Ant-v"):
        translate(zoo, "Ant-v5", entry="Ant-v3")


def test_games_of_ale_have_the_entry_atari(zoo: str) -> None:
    with pytest.raises(InputError, match="none of the name atari"):
        translate(zoo, "ALE/Pong-v5")
    with pytest.raises(InputError, match="use --env-id ALE/Pong-v5"):
        translate(zoo, "PongNoFrameskip-v4")


def test_a_file_of_another_name_needs_its_algorithm(zoo: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yml"
    mine.write_text(FILE + "Env-v0: {n_timesteps: 1.0, policy: MlpLstmPolicy}\n")
    with pytest.raises(InputError, match="--algo: mine cannot be translated"):
        translate(str(mine), "Own-v0")
    assert translate(str(mine), "Own-v0", "a2c").settings["algo"] == "a2c"
    assert translate(str(mine), "Own-v0", "ppo").settings["algo"] == "ppo"
    assert translate(str(mine), "Env-v0", "ppo").settings["recurrent"] == "lstm"
    assert translate(zoo, "Own-v0", "ppo").settings["algo"] == "ppo"
    with pytest.raises(InputError, match="--algo: trpo, but the file is named ppo"):
        translate(zoo, "Own-v0", "trpo")


@pytest.mark.parametrize(
    "text",
    [
        b"a: [1",
        b"- 1",
        b"",
        b"a: !!python/object/apply:os.mkdir [made]",
        b"\xff",
        b"a: &a [*a]",
        b"a: *b",
        b"Own-v0: 3",
        b"Own-v0: {1: 2}",
        b"? [a]\n: b",
        b"Own-v0: {n_timesteps: 2001-99-99, policy: MlpPolicy}",
        b"[" * 3000,
    ],
)
def test_any_file_is_translated_or_refused(
    text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ppo.yml").write_bytes(text)
    with pytest.raises(InputError, match=r"ppo\.yml"):
        translate("ppo.yml", "Own-v0")
    assert [path.name for path in tmp_path.iterdir()] == ["ppo.yml"]


def test_each_setting_says_where_it_is_from(tmp_path: Path) -> None:
    text = "n_steps: 8\nbatch_size: 256\n" + KWARGS.format("log_std_init=-1")
    found = entry_of(tmp_path, MLP + text).sources
    assert found["algo"] == found["env_id"] == found["action_scale"] == ""
    assert found["num_steps"] == "n_steps"
    assert found["minibatch_size"] == "batch_size is more than the batch"
    assert found["log_std_init"] == "log_std_init"
    assert found["gamma"] == "gamma (default)"
    assert entry_of(tmp_path, MLP).sources["normalize_over"] == "normalize_advantage (default)"
    found = entry_of(tmp_path, MLP, "a2c").sources
    assert found["optimizer"] == "use_rms_prop (default)"
    assert found["minibatch_size"] == found["num_epochs"] == ""
    found = entry_of(tmp_path, MLP, "trpo").sources
    assert found["vf_coef"] == found["max_grad_norm"] == ""


@pytest.mark.parametrize(
    ("algorithm", "text", "said"),
    [
        ("ppo", "normalize_advantage: false", []),
        ("ppo", "", ["the population's standard deviation"]),
        ("a2c", "normalize_advantage: true", []),
        ("a2c", "learning_rate: lin_0.1", ["Linear schedules"]),
        ("a2c", "normalize: true", ["Statistics of observations", "Statistics of rewards"]),
        ("ppo", "clip_range_vf: 0.2", ["The value loss", "population's"]),
        ("ppo", "clip_range_vf: lin_0.2", ["Linear schedules", "The value loss", "population's"]),
        ("a2c", "n_steps: 8\nframe_stack: 2", ["fills the stack"]),
        (
            "a2c",
            "n_steps: 8\nframe_stack: 2\nnormalize: {norm_reward: false}",
            ["fills the stack", "Statistics of observations", "Each frame of a stack"],
        ),
        (
            "trpo",
            "",
            [
                *("multiplies it by 0.8", "Conjugate gradients", "limit is"),
                *("one more step", "not clipped"),
            ],
        ),
        (
            "ppo_lstm",
            KWARGS.format("net_arch=[], ortho_init=False"),
            ["random order", "population's"],
        ),
        (
            "ppo_lstm",
            "use_sde: true\n" + KWARGS.format("ortho_init=False"),
            ["random order", "population's", "come before the LSTM", "noise of gSDE"],
        ),
    ],
)
def test_what_differs_is_said(algorithm: str, text: str, said: list[str], tmp_path: Path) -> None:
    policy = LSTM + "n_envs: 2\n" if algorithm == "ppo_lstm" else MLP
    notes = entry_of(tmp_path, policy + text, algorithm).notes
    assert len(notes) == len(said) + 1
    assert any("resets, and is not trained on" in note for note in notes)
    for words in said:
        assert any(words in note for note in notes), words


def refused_by(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run_main(["config", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_the_command_refuses_what_it_cannot_translate(
    zoo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "add --env-id" in refused_by(["--from-zoo", zoo], capsys)
    assert "add --from-zoo" in refused_by(["--entry", "Ant-v4"], capsys)
    words = ["--from-zoo", zoo, "--env-id", "Own-v0", "--config", "cartpole-ppo"]
    assert "omit one of them" in refused_by(words, capsys)
    assert "--entry Ant-v4" in refused_by(["--from-zoo", zoo, "--env-id=Ant-v5"], capsys)
    file = Path(zoo).with_name("a2c.yml")
    file.write_text(f"Env-v0: {{n_timesteps: 1.0, policy: MlpPolicy, env_wrapper: {ATARI}}}\n")
    words = ["--from-zoo", str(file), "--env_id", "Env-v0"]
    assert ATARI in refused_by(words, capsys)


def test_a_setting_out_of_range_names_file_and_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ppo.yml"
    file.write_text("Own-v0: {n_timesteps: 1.0, policy: MlpPolicy, gamma: 7}\n")
    said = refused_by(["--from-zoo", str(file), "--env-id", "Own-v0"], capsys)
    assert "ppo.yml" in said
    assert "--gamma: 7 is not" in said


def test_a_recipe_reads_back_and_other_flags_change_it(
    zoo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--from-zoo", zoo, "--env-id", "Ant-v5", "--entry", "Ant-v4"]
    assert run_main(["config", *words]) == 0
    written = capsys.readouterr().out
    lines = written.splitlines()
    assert lines[0].startswith(
        "# Ant-v5 by the entry Ant-v4 of rl-zoo3's ppo.yml, with the defaults"
    )
    assert lines[1] == "# What differs from Stable-Baselines3 (there):"
    assert "gamma = 0.9  # gamma" in lines
    assert "num_steps = 2048  # n_steps (default)" in lines
    assert max(map(len, lines)) <= 100
    file = tmp_path / "recipe.toml"
    file.write_text(written)
    expected = translate(zoo, "Ant-v5", entry="Ant-v4").settings
    config = load_config(str(file))
    assert {name: getattr(config, name) for name in expected} == dict(expected)
    assert run_main(["config", *words, "--gamma", "0.5", "--seed", "3"]) == 0
    changed = capsys.readouterr().out.splitlines()
    assert "gamma = 0.5  # a flag; otherwise 0.9" in changed
    assert "seed = 3  # a flag; otherwise 0" in changed
    assert len(changed) == len(lines) + 1


FORMS = [
    ("ppo", "CartPole-v1", "n_envs: 8\nn_steps: 32\nbatch_size: 256\nlearning_rate: lin_0.001"),
    ("ppo", "Pendulum-v1", "use_sde: True\nsde_sample_freq: 4"),
    (
        "ppo",
        "HalfCheetah-v5",
        "normalize: true\n"
        + KWARGS.format(
            "log_std_init=-2, ortho_init=False, activation_fn=nn.ReLU, "
            "net_arch=dict(pi=[256, 256], vf=[256, 256])"
        ),
    ),
    ("a2c", "Pendulum-v1", "n_envs: 8\nuse_sde: True\nlearning_rate: lin_7e-4\nn_steps: 8"),
    ("trpo", "Acrobot-v1", "normalize: true\nn_envs: 2\nn_steps: 1024"),
    ("ppo_lstm", "CartPole-v1", KWARGS.format("enable_critic_lstm=True, lstm_hidden_size=64")),
    ("ppo", "ALE/Pong-v5", f"env_wrapper: [{ATARI}]\nframe_stack: 4\nn_envs: 8\nn_steps: 128"),
    (
        "ppo_lstm",
        "ALE/Pong-v5",
        f"env_wrapper: [{ATARI}: {{terminal_on_life_loss: False}}]\n"
        "frame_stack: 4\nn_envs: 8\nn_steps: 128\n" + KWARGS.format("enable_critic_lstm=False"),
    ),
]


@pytest.mark.parametrize(("algorithm", "env_id", "text"), FORMS)
def test_forms_of_the_files_are_recipes(
    algorithm: str, env_id: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = ("Cnn" if env_id.startswith("ALE") else "Mlp") + "Lstm" * (algorithm == "ppo_lstm")
    entry_of(tmp_path, f"n_timesteps: !!float 1e5\npolicy: {kind}Policy\n{text}", algorithm, env_id)
    file = tmp_path / f"{algorithm}.yml"
    assert run_main(["config", "--from-zoo", str(file), "--env-id", env_id]) == 0
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(capsys.readouterr().out)
    assert load_config(str(recipe)).env_id == env_id


def test_resizing_takes_the_list_that_json_has(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def make(env: Any, shape: tuple[int, int]) -> Any:
        made.append(shape)
        return env

    monkeypatch.setattr(wrappers, "ResizeObservation", make)
    env = gym.make("CartPole-v1")
    assert wrappers.resize_observation(env, [64, 32]) is env
    assert made == [(64, 32)]
