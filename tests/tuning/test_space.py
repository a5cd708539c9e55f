"""Spaces from TOML, and bad ones: one message, and nothing is started."""

import sys
from pathlib import Path

import pytest

from distpg import load_config
from distpg.tuning.dimensions import Choice, Interval
from distpg.tuning.folder import study_folder
from distpg.tuning.pruners import Halving, Median
from distpg.tuning.report import RECIPE, write_recipe
from distpg.tuning.space import Space, load_space
from distpg.tuning.study import Study
from tests.test_cli import ROOT, assert_refused, run_main
from tests.tuning.spaces import TINY


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(text: str = TINY) -> Space:
    """Load a space from a file tiny.toml."""
    Path("tiny.toml").write_text(text)
    return load_space(Path("tiny.toml"))


def test_a_space_is_read() -> None:
    space = loaded(TINY.replace("trials = 3", 'trials = 3\nbase = "cartpole-a2c"'))
    assert space.name == "tiny"
    assert space.settings["algo"] == "a2c"
    assert space.settings["hidden_sizes"] == (8,)
    assert space.dimensions["target_kl"] == Choice("target_kl", (0.01, None))
    rate, size = space.dimensions["learning_rate"], space.dimensions["minibatch_size"]
    assert isinstance(rate, Interval)
    assert isinstance(size, Interval)
    assert (rate.is_whole, rate.limits.log) == (False, True)
    assert (size.is_whole, size.limits.log) == (True, False)
    assert space.stops(8_000) == [4_000, 8_000]
    assert space.pruner == Median(startup_trials=1)
    assert loaded(TINY.replace('"median", startup_trials = 1', '"halving"')).pruner == Halving()
    assert loaded(TINY.replace("[0.5]", "[100, 300]")).stops(8_000) == [100, 300, 8_000]


RATE = "learning_rate = { low = 1e-4, high = 1e-2, log = true }"
BAD: list[tuple[str, str, list[str]]] = [
    ("trials = 3\n", "", ["trials is missing"]),
    ("trials = 3", "trials = 0", ["trials: 0 is not between 1"]),
    ("trials = 3", "trails = 3", ["trails", "no such key", "did you mean trials"]),
    ("trials = 3", 'trials = 3\nname = "x"', ["tiny.toml: name: no such key"]),
    ("trials = 3", "trials = = 3", ["cannot be read", "line 1"]),
    ("trials = 3", 'trials = 3\nbase = "cartpol"', ["base", "'cartpol'", "cartpole-ppo"]),
    ("trials = 3", 'trials = 3\nbase = "missing.toml"', ["base", "'missing.toml'"]),
    ("trials = 3", "trials = 3\nbase = 3", ["base: 3"]),
    ("trials = 3", 'trials = 3\nobjective = "return"', ["objective: 'return'", "last_evaluation"]),
    ("trials = 3", 'trials = 3\nobjective = "last_evaluation"', ["objective", "eval_every"]),
    ("[0, 1]", "[]", ["seeds: []"]),
    ("[0, 1]", "[1, 1]", ["seeds: [1, 1]"]),
    ("[0, 1]", "[-1]", ["seeds: (-1,)"]),
    ("[0.5]", "[0.5, 0.25]", ["rungs: [0.5, 0.25] do not increase"]),
    ("[0.5]", "[1.0]", ["rungs: [1.0]", "below the end"]),
    ("[0.5]", "[8_000]", ["rungs: [8000]", "8,000"]),
    ("[0.5]", "[0.25, 4_000]", ["rungs: [0.25, 4000]"]),
    ("[0.5]", '["half"]', ["rungs: ('half',)"]),
    ("rungs = [0.5]\n", "", ["pruner", "rungs"]),
    ('kind = "median"', 'kind = "hyperband"', ["pruner: kind: 'hyperband'", "median, halving"]),
    ('kind = "median"', 'kind = ["median"]', ["pruner: kind: ['median'] is not a pruner"]),
    ('{ kind = "median", startup_trials = 1 }', '"median"', ["tiny.toml: pruner: 'median' is not"]),
    ("startup_trials = 1", "startup = 1", ["pruner: startup", "did you mean startup_trials"]),
    ("sampler_seed = 2", "sampler_seed = -2", ["sampler_seed: -2"]),
    ("num_envs = 2", "num_envz = 2", ["settings: num_envz", "did you mean num_envs"]),
    ("num_envs = 2", "num_envs = 0", ["settings: --num-envs: 0"]),
    ("num_envs = 2", "seed = 2", ["settings: seed", "`seeds`"]),
    ("num_envs = 2", "learning_rate = 2", ["learning_rate: it is under [settings], too"]),
    (
        RATE,
        "learning_rat = [0.1, 0.2]",
        ["space: learning_rat: no such setting", "did you mean learning_rate"],
    ),
    (RATE, "learning_rate = { low = 0, high = 1 }", ["space: learning_rate: low: 0 is not"]),
    (RATE, "learning_rate = { low = 1, high = inf }", ["high: inf"]),
    (RATE, "learning_rate = { low = 'a', high = 1 }", ["low: 'a' is not a number"]),
    (RATE, "learning_rate = { low = 0.2, high = 0.1 }", ["low: 0.2", "high: 0.1"]),
    (RATE, "learning_rate = { low = 0.2, hihg = 0.1 }", ["hihg", "did you mean high"]),
    (RATE, "learning_rate = { low = 0.2 }", ["space: learning_rate: high is missing"]),
    (RATE, "learning_rate = 0.1", ["space: learning_rate: 0.1 is neither a range"]),
    (RATE, "learning_rate = [0.1]", ["space: learning_rate: [0.1]", "two"]),
    (RATE, "learning_rate = [0.1, 0.1]", ["space: learning_rate: [0.1, 0.1]", "different"]),
    (RATE, "learning_rate = [0.1, -1]", ["space: learning_rate: -1 is not"]),
    (RATE, "ent_coef = { low = 0, high = 1, log = true }", ["ent_coef: low: 0", "logarithm"]),
    (RATE, "num_epochs = { low = 1.5, high = 3 }", ["num_epochs: low: 1.5 is not"]),
    (RATE, "num_steps = { low = 1.5, high = 3 }", ["num_steps: low: 1.5 is not"]),
    (RATE, "value_epochs = { low = 1.5, high = 3 }", ["low: 1.5 is not a whole number"]),
    (RATE, "surrogate = { low = 1, high = 3 }", ["surrogate: it is not a number", "list"]),
    (RATE, "learning_rate = 2026-01-01", ['learning_rate: "2026-01-01" is neither a range']),
    (RATE, "learning_rate = [0.1, 2026-01-01]", ['learning_rate: "2026-01-01" is not']),
    ("{ lengths = [] }", "{ lengths = [2026-01-01] }", ["env_kwargs: --env-kwargs", "TOML"]),
    (RATE, 'algo = ["ppo", "zzz"]', ["space: algo: --algo: 'zzz' is not an algorithm"]),
    (RATE, 'env_id = ["CartPole-v1", "Acrobot-v1"]', ["space: env_id", "[settings]"]),
    (RATE, "seed = [1, 2]", ["space: seed", "`seeds`"]),
    (RATE, "num_workers = [1, 2]", ["space: num_workers", "[settings]"]),
    (RATE, 'baseline = ["mean", "time"]', ["do not go together", "--baseline value"]),
    ("Counting", "Count", ["--env-id", "tests.environments:Count"]),
]


@pytest.mark.parametrize(("old", "new", "said"), BAD)
def test_a_bad_space_is_one_message(
    old: str, new: str, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in TINY
    Path("tiny.toml").write_text(TINY.replace(old, new))
    assert_refused(["tune", "tiny.toml"], said, capsys)
    assert [path.name for path in Path().iterdir()] == ["tiny.toml"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.toml"], ["nowhere.toml: cannot be read"]),
        (["."], [".: cannot be read"]),
        (["tiny.toml", "--parallel", "0"], ["--parallel: 0"]),
        (["tiny.toml", "--folder", "tiny.toml"], ["--folder: tiny.toml cannot be written"]),
        (["tiny.toml", "--folder", "a?b"], ["--folder: a?b", "'?'"]),
    ],
)
def test_a_bad_flag_is_one_message(
    words: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("tiny.toml").write_text(TINY)
    assert_refused(["tune", *words], said, capsys)


def test_without_optuna_it_says_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("tiny.toml").write_text(TINY)
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert_refused(["tune", "tiny.toml"], ["optuna", "pip install 'distpg[tune]'"], capsys)


def test_another_space_in_the_same_folder_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with study_folder(loaded(), Path("study")):
        pass
    with study_folder(loaded(TINY.replace("trials = 3", "trials = 9")), Path("study")):
        assert_refused(
            ["tune", "tiny.toml", "--folder", "study"], ["study is being written by"], capsys
        )
    Path("tiny.toml").write_text(TINY.replace("num_steps = 32", "num_steps = 64"))
    said = ["study has settings.num_steps = 32, the file has 64; choose another folder"]
    assert_refused(["tune", "tiny.toml", "--folder", "study"], said, capsys)


def test_what_a_trial_gets_depends_on_seed_number_and_trials_before_alone(folder: Path) -> None:
    whole = Study(loaded(), folder / "whole.db")
    searched = [whole.ask().searched for _ in range(4)]
    assert len({str(one) for one in searched}) == 4
    for number in range(4):
        # as after a kill
        assert Study(loaded(), folder / "parts.db").ask().searched == searched[number]
    parts = Study(loaded(), folder / "parts.db")
    assert [trial.searched for trial in parts.under_way()] == searched
    assert all(one["target_kl"] in (0.01, None) for one in searched)


def test_a_trial_killed_before_its_settings_were_chosen_gets_the_same(folder: Path) -> None:
    expected = Study(loaded(), folder / "whole.db").ask().searched
    Study(loaded(), folder / "killed.db").study.ask()
    (trial,) = Study(loaded(), folder / "killed.db").under_way()
    assert trial.searched == expected


def test_a_study_is_the_same_whatever_the_file_of_its_space_is_called(folder: Path) -> None:
    Study(loaded(), folder / "study.db").ask()
    Path("tiny.toml").rename("renamed.toml")
    renamed = load_space(Path("renamed.toml"))
    assert len(Study(renamed, folder / "study.db").under_way()) == 1


def test_what_was_decided_at_a_rung_holds_after_a_kill(folder: Path) -> None:
    halving = "{ kind = 'halving', reduction_factor = 2 }"
    space = loaded(TINY.replace('{ kind = "median", startup_trials = 1 }', halving))
    study = Study(space, folder / "study.db")
    for mean in (3.0, 2.0):
        trial = study.ask()
        trial.report(0, mean)
        assert trial.is_behind() == (mean == 2.0)
    again = Study(space, folder / "study.db").under_way()
    assert [trial.is_behind() for trial in again] == [False, True]


def test_the_recipe_is_a_file_of_settings_with_the_figures_of_the_study(folder: Path) -> None:
    space = loaded()
    study = Study(space, folder / "study.db")
    for mean in (1.0, 3.0, 2.0):
        study.ask().finish(mean, {0: mean - 0.5, 1: mean + 0.5})
    study.ask().fail("it diverged")
    write_recipe(space, study, folder)
    best = study.best()
    assert best is not None
    assert (best.number, best.value, best.returns) == (1, 3.0, {"0": 2.5, "1": 3.5})
    config = load_config(str(folder / RECIPE))
    assert config == space.config(best.searched)
    text = (folder / RECIPE).read_text()
    assert "# Trial 1 of tiny, the best of 4: 3 finished, 1 failed.\n" in text
    assert "mean return 3.00, 95% interval of the mean -3.35 to 9.35.\n" in text
    assert "# seed 0: 2.50, seed 1: 3.50.\n" in text
    assert "# searched: 0.0001 to 0.01, logarithmic\n" in text


@pytest.mark.parametrize(
    ("pruner", "means", "pruned"),
    [
        # below the median of what is finished, once two trials are
        ("{ kind = 'median', startup_trials = 2 }", [3, 2, 1, 4], [False, False, True, False]),
        # in the best half of those at the rung so far
        ("{ kind = 'halving', reduction_factor = 2 }", [3, 2, 4, 1, 5, 2.5], "FTFTFT"),
    ],
)
def test_a_trial_behind_the_others_at_a_rung_is_given_up(
    pruner: str, means: list[float], pruned: list[bool] | str, folder: Path
) -> None:
    text = TINY.replace('{ kind = "median", startup_trials = 1 }', pruner)
    study = Study(loaded(text), folder / "study.db")
    found: list[bool] = []
    for mean in means:
        trial = study.ask()
        trial.report(0, mean)
        found.append(trial.is_behind())
        assert trial.num_rungs == 1
        if found[-1]:
            trial.prune()
        else:
            trial.finish(mean, {0: mean})
    assert found == ([x == "T" for x in pruned] if isinstance(pruned, str) else pruned)
    states = [record.state for record in study.records()]
    assert states == ["PRUNED" if x else "COMPLETE" for x in found]
    assert [record.value for record in study.records()] == means


def test_the_space_of_the_examples_is_the_one_in_the_docs() -> None:
    file = ROOT / "examples" / "tune-cartpole.toml"
    assert load_space(file).stops(15_000) == [7_500, 15_000]
    assert f"```toml\n{file.read_text()}```\n" in (ROOT / "docs" / "tuning.md").read_text()


def test_settings_that_do_not_go_together_fail_their_trial_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "trials = 1\nsampler_seed = 2\n[settings]\nnum_workers = 0\n[space]\n"
    Path("tiny.toml").write_text(f"{text}minibatch_size = [9999, 64]\n")
    assert run_main(["tune", "tiny.toml"]) == 1
    said = capsys.readouterr().out
    assert "[1/1] trial 0 failed: --minibatch-size: 9999 is more than the batch of 1024" in said
    assert "1 failed of 1 trials" in said
    # it is not tried again
    assert run_main(["tune", "tiny.toml"]) == 1
    assert "trial 0 failed: " not in capsys.readouterr().out
