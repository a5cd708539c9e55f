"""Tables: what ships is valid, and what is wrong in a file is named."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distpg import InputError, load_config
from distpg.config.config import Config
from distpg.reproduce.table import Table, load_table, table_of, tables
from tests.reproduce.tables import TINY

ROOT = Path(__file__).parents[2]


def tiny() -> Table:
    return table_of("tiny", tomllib.loads(TINY))


@pytest.mark.parametrize("name", tables())
def test_a_table_that_ships_is_valid(name: str) -> None:
    table = load_table(name)
    assert table.name == name
    for task in table.tasks:
        config = table.config(task, 3)
        assert (config.seed, config.total_steps) == (3, table.tasks[task].steps)
    assert any(task.references for task in table.tasks.values())


def test_the_seven_tasks_have_the_settings_of_the_recipe() -> None:
    table = load_table("ppo-mujoco")
    assert len(table.tasks) == 7
    own = {"env_id", "total_steps", "num_workers", "learner_threads", "eval_every"}
    own |= {"action_scale", "log_std_init"}
    recipe = vars(load_config("halfcheetah-ppo"))
    for name, task in table.tasks.items():
        assert (task.env_id, task.steps, task.settings) == (name, 1_000_000, {})
        config = vars(table.config(name))
        assert {x for x in recipe if config[x] != recipe[x]} <= own


def test_the_table_with_less_noise_differs_in_that_alone() -> None:
    less, seven = load_table(str(ROOT / "benchmarks" / "less_noise.toml")), load_table("ppo-mujoco")
    assert less.tasks.keys() == seven.tasks.keys()
    for task in seven.tasks:
        assert less.config(task) == replace(seven.config(task), log_std_init=-1.0)
    tuned = load_table("mujoco-tuned").config("HalfCheetah-v5-less_noise")
    assert tuned == less.config("HalfCheetah-v5")


def test_the_table_of_normalization_differs_in_that_alone() -> None:
    other = load_table(str(ROOT / "benchmarks" / "normalization.toml"))
    seven, classic = load_table("ppo-mujoco"), load_table("classic")
    assert other.tasks.keys() == {*seven.tasks, "LunarLander-v3"}
    for task in other.tasks:
        before = (seven if task in seven.tasks else classic).config(task)
        turned = "minibatch" if task in seven.tasks else "batch"
        assert before.normalize_over != turned
        assert other.config(task) == replace(before, normalize_over=turned)


def test_the_ways_without_velocities_change_what_their_names_say() -> None:
    ways = load_table(str(ROOT / "benchmarks" / "no_velocity.toml"))
    before = load_table("recurrent").config("CartPoleNoVel-v1-lstm")
    changes: dict[str, dict[str, Any]] = {
        "zoo": {},
        "300k": {"total_steps": 300_000},
        "epochs_10": {"num_epochs": 10},
        "steps_128": {"num_steps": 128},
        "no_hidden": {"hidden_sizes": ()},
        "no_hidden_epochs_10": {"hidden_sizes": (), "num_epochs": 10},
        "gru_no_hidden": {"hidden_sizes": (), "recurrent": "gru"},
        "tanh_orthogonal": {"activation": "tanh", "orthogonal_init": True},
    }
    for way, change in changes.items():
        assert ways.config(f"CartPoleNoVel-v1-{way}") == replace(before, **change)
    constant = ways.config("CartPoleNoVel-v1-recipe_300k")
    own = {"env_id", "stop_at_return", "num_workers", "num_envs", "minibatch_size", "gae_lambda"}
    own |= {"normalize_obs", "normalize_rewards", "recurrent", "recurrent_size"}
    own |= {"learner_threads", "eval_every"}
    recipe = vars(load_config("cartpole-ppo"))
    assert {x for x in recipe if vars(constant)[x] != recipe[x]} <= own
    falling = ways.config("CartPoleNoVel-v1-recipe_300k_linear")
    assert falling == replace(constant, lr_schedule="linear")


def test_the_table_of_the_docs_is_one() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs/cli.md").read_text(), re.M | re.S)
    table = table_of("two", tomllib.loads(text))
    assert table.seeds_of("CartPole") == (0, 1, 2, 3, 4)
    assert [x.judged for x in table.tasks["CartPole"].references] == [True]


def test_ppo_among_its_rivals_is_that_of_the_seven_tasks() -> None:
    rivals, seven = load_table("rivals"), load_table("ppo-mujoco")
    for task in ("HalfCheetah-v5", "Hopper-v5", "Swimmer-v5"):
        assert rivals.config(f"{task}-ppo", 2) == seven.config(task, 2)


def test_tasks_are_grouped_by_environment_in_their_ways() -> None:
    table = load_table("rivals")
    groups = table.groups()
    assert [*groups] == ["HalfCheetah-v5", "Hopper-v5", "Swimmer-v5"]
    for names in groups.values():
        assert [*map(table.way, names)] == ["ppo", "ppo_kl", "a2c", "trpo", "reinforce"]
    assert load_table("recurrent").way("PendulumNoVel-v1-gru") == "gru"


def test_a_run_has_a_core_for_itself_unless_the_table_says_otherwise() -> None:
    config = tiny().config("CartPole", seed=7)
    assert (config.num_workers, config.learner_threads, config.seed) == (0, 1, 7)
    assert isinstance(config, Config)
    pong = load_table("pong").config("Pong-v5")
    assert (pong.num_workers, pong.learner_threads) == (2, 2)


def test_a_score_is_linear_between_the_ends_of_the_scale() -> None:
    task = tiny().tasks["Acrobot"]
    assert [task.score(x) for x in (-500, -285, -70, 145)] == [0, 0.5, 1, 1.5]


def test_a_part_has_the_named_tasks_and_the_first_seeds() -> None:
    part = tiny().part(["Acrobot"], 1)
    assert ([*part.tasks], part.seeds) == (["Acrobot"], (0,))
    assert tiny().part([], None) == tiny()
    for tasks, seeds, offender in (
        (["Acrobat"], None, "'Acrobat' is no task of tiny; .* did you mean Acrobot"),
        ([], 3, "--seeds: 3 is not between 1 and 2"),
        ([], 0, "--seeds: 0"),
    ):
        with pytest.raises(InputError, match=offender):
            tiny().part(tasks, seeds)


def test_a_task_may_have_seeds_of_its_own() -> None:
    whole = tiny()
    table = replace(
        whole, tasks={**whole.tasks, "Acrobot": replace(whole.tasks["Acrobot"], seeds=(7, 8, 9))}
    )
    assert sorted(table.in_turn()[:2]) == [("Acrobot", 7), ("CartPole", 0)]
    assert sorted(table.in_turn()[2:4]) == [("Acrobot", 8), ("CartPole", 1)]
    assert table.in_turn()[4:] == [("Acrobot", 9)]
    assert table.part(["Acrobot"], 2).in_turn() == [("Acrobot", 7), ("Acrobot", 8)]
    assert len(table.part([], 3).in_turn()) == 5
    with pytest.raises(InputError, match=r"--seeds: 4 is not between 1 and 3"):
        table.part([], 4)
    with pytest.raises(InputError, match=r"seeds: \[1, 1\] has one twice"):
        replace(whole.tasks["Acrobot"], seeds=(1, 1))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("seeds = [0, 1]", "seeds = []", "seeds: the list is empty"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "seeds: .* has one twice"),
        ("seeds = [0, 1]", "seeds = [-1]", "--seeds: |seeds: .*-1"),
        ("seeds = [0, 1]", "", "seeds is missing"),
        ("seeds = [0, 1]", "seeds = [0]\nsede = 1", "sede: no such key; did you mean seeds"),
        ('title = "Two tiny tasks"', "title = 3", "title: 3 is not text"),
        ("steps = 2000", "steps = 2000\nstep = 1", "tasks.CartPole: step: no such key; did you"),
        ("steps = 2000", "", "tasks.CartPole: steps is missing"),
        ("steps = 2000", "steps = 0", "tasks.CartPole: steps: 0 is not"),
        ("scale = [24.0, 500.0]", "scale = [5.0, 5.0]", "CartPole: scale: .* is not a low and"),
        ("num_steps = 32", "num_stops = 32", "settings: num_stops: no such setting; did you"),
        ("num_steps = 32", "num_steps = 1", "settings: --num-steps: 1 is not between"),
        ("num_steps = 32", "seed = 1", "settings: seed is set by seeds"),
        ("num_steps = 32", "total_steps = 1", "settings: total_steps is set by steps"),
        (
            'measure = "best_evaluation"',
            'measure = "best_training"',
            "CartPole: reference 2: measure: 'best_training' is not one of last_100_training_ep",
        ),
        ("value = 400.0", "", "CartPole: reference 1: value is missing"),
        ("interval = [390.0, 410.0]", "interval = [410.0, 390.0]", "interval: .* is not a lower"),
        ("interval = [390.0, 410.0]", "interval = [390.0]", "interval: .* is not a lower"),
        ("interval = [390.0, 410.0]", "interval = [390.0, 399.0]", "does not hold the value, 400"),
        ("n = 3", "n = 1", "interval: it needs n, at least 2 seeds"),
        ("n = 3", "", "interval: it needs n, at least 2 seeds"),
        ("interval = [390.0, 410.0]", "", "judged: it needs an interval, of at least 2 seeds"),
        (
            "interval = [390.0, 410.0]\nn = 3",
            "n = 1",
            "judged: it needs an interval, of at least 2 seeds",
        ),
        (
            'name = "a page"\nvalue = 10.0\nmeasure = "best_evaluation"',
            'name = "a paper"\nvalue = 1.0\nmeasure = "last_100_training_episodes"',
            "a paper has two of last_100_training_episodes",
        ),
        ("judged = true", "judge = true", "reference 1: judge: no such key; did you mean judged"),
        ("eval_every = 8, ", "", "tasks.CartPole: the measure best_evaluation needs the setting"),
        ("[tasks.Acrobot]", '[tasks."a/b"]', "tasks.a/b: a task's name has only letters"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(before: str, after: str, message: str) -> None:
    assert before in TINY
    with pytest.raises(InputError, match=message):
        table_of("tiny", tomllib.loads(TINY.replace(before, after, 1)))


def test_a_table_without_tasks_is_refused() -> None:
    with pytest.raises(InputError, match="tasks: there are none"):
        table_of("x", {"title": "t", "seeds": [1]})


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither a file nor a table; .* did you mean ppo-mujoco"):
        load_table("ppo-mujco")
    file = tmp_path / "mine.toml"
    file.write_text("title = ")
    with pytest.raises(InputError, match=r"mine\.toml: cannot be read"):
        load_table(str(file))
    file.write_text(TINY)
    assert load_table(str(file)).name == "mine"
