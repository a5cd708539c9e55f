"""From an id or a callable to N copies behind one door, or to one message."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode

from distpg import InputError
from distpg.envs.copies import Copies
from distpg.envs.make import find_env, make_vector_env
from distpg.envs.native import NativeVectorEnv
from distpg.envs.vector_env import VectorEnv
from tests.environments import Counting, PaysOne, pays_one_for_ten_steps


def make(env_id: str, num_envs: int = 2, **kwargs: Any) -> VectorEnv:
    return make_vector_env(find_env(env_id, kwargs), num_envs)


@pytest.mark.parametrize(
    ("env_id", "nearest"),
    [
        ("CartPol-v1", "CartPole-v1"),
        ("cartpole", "CartPole-v"),
        ("LunarLander-v9", "LunarLander-v3"),
        ("ALE/Pung-v5", "ALE/Pong-v5"),
        ("tests.environments:Countin-v0", "Counting-v0"),
    ],
)
def test_a_misspelt_id_is_answered_with_the_nearest(env_id: str, nearest: str) -> None:
    with pytest.raises(InputError) as raised:
        find_env(env_id, {})
    assert env_id in str(raised.value)
    assert f"{nearest}" in str(raised.value).partition("did you mean")[2]


@pytest.mark.parametrize(
    ("env_id", "said"),
    [
        ("MiniGrid-Empty-5x5-v0", "package minigrid is not installed.*minigrid:MiniGrid-Empty-5x5"),
        ("Theirs-v0", "module:Env-v0.*packages that use Gymnasium: .*envpool"),
        ("tests.environments:Nothing", "neither registers nor has 'Nothing'"),
        ("tests.environments:Info", "made {}, which is not a gymnasium.Env"),
        ("tests.environments:PaysOne.Other", "neither registers nor has 'PaysOne.Other'"),
        ("os:sep", "not a class or function"),
        ("PongNoFrameskip-v4", "its successor is ALE/Pong-v5"),
        ("Asteroids-ramDeterministic-v4", "its successor is ALE/Asteroids-v5"),
        (":CartPole-v1", "':CartPole-v1' cannot be imported"),
    ],
)
def test_what_is_not_found_is_answered_with_what_to_write(
    env_id: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # importing ale_py registers the old ids
    if env_id.endswith("-v4"):
        monkeypatch.delitem(gym.registry, env_id, raising=False)
    with pytest.raises(InputError, match=said):
        make(env_id)


def test_an_id_of_an_installed_package_is_answered_with_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "minigrid.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="use --env-id minigrid:MiniGrid-Empty-5x5-v0, which imp"):
        find_env("MiniGrid-Empty-5x5-v0", {})


def test_a_class_or_a_function_of_a_module_makes_each_copy() -> None:
    for name in ("PaysOne", "Package.PaysOne", "pays_one_for_ten_steps"):
        source = find_env(f"tests.environments:{name}", {})
        assert source.name == f"tests.environments:{name}"
        envs = make_vector_env(source, 2)
        assert envs.reset([0, 1])["obs"].shape == (2, 1)


def test_a_vector_implementation_that_resets_at_once_gives_way_to_copies() -> None:
    gym.register(
        "AtOnce-v0", "tests.environments:PaysOne", vector_entry_point="tests.envs.test_make:AtOnce"
    )
    gym.register("OnlyAtOnce-v0", vector_entry_point="tests.envs.test_make:AtOnce")
    try:
        assert isinstance(make("AtOnce-v0"), Copies)
        with pytest.raises(InputError, match="NEXT_STEP is required, or an entry_point"):
            make("OnlyAtOnce-v0")
    finally:
        del gym.registry["AtOnce-v0"], gym.registry["OnlyAtOnce-v0"]


class AtOnce(gym.vector.VectorEnv[Any, Any, Any]):
    """Resets in the step that ends an episode."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs


def test_an_id_that_is_like_no_other_is_refused() -> None:
    with pytest.raises(InputError, match="--env-id: 'qqqqqqqq'"):
        find_env("qqqqqqqq", {})


@pytest.mark.parametrize(
    ("env_id", "package", "extra"),
    [
        ("HalfCheetah-v5", "mujoco", "mujoco"),
        ("LunarLander-v3", "Box2D", "box2d"),
        ("ALE/Pong-v5", "ale_py", "atari"),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    env_id: str, package: str, extra: str
) -> None:
    # in a process of its own: what is imported once cannot be missed afterwards
    code = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "from distpg.cli import main\n"
        f"sys.exit(main(['train', '--env-id', {env_id!r}, '--num-workers', '0']))"
    )
    done = run_python(code, Path.cwd())
    assert done.returncode == 2, done.stderr
    assert f"pip install 'distpg[{extra}]'" in done.stderr
    assert env_id in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_keyword_arguments_that_the_env_does_not_take_are_refused() -> None:
    for env_id in ("CartPole-v1", "Pendulum-v1"):
        with pytest.raises(InputError, match=rf"--env-kwargs: {env_id} .*gravitas"):
            make(env_id, gravitas=1)
    with pytest.raises(InputError, match=r"--env-kwargs: tests.environments:Counting .*gravitas"):
        make_vector_env(find_env(Counting, {"gravitas": 1}), 1)


def test_keyword_arguments_reach_every_copy() -> None:
    envs = make("tests.environments:Counting-v0", 3, lengths=[7])
    assert isinstance(envs, Copies)
    lengths = [guard.env.unwrapped.lengths for guard in envs.guards]  # pyright: ignore[reportAttributeAccessIssue]
    assert lengths == [[7]] * 3


def test_an_id_with_a_module_imports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_games.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Chess-v0', 'tests.environments:PaysOne', max_episode_steps=3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    envs = make("own_games:Chess-v0")
    envs.reset([0, 1])
    zeros = np.zeros(2, np.int64)
    assert [envs.step(zeros).truncated.tolist() for _ in range(3)] == [[False] * 2] * 2 + [
        [True] * 2
    ]


def test_a_class_that_the_users_script_registers_is_found() -> None:
    def own(**kwargs: Any) -> gym.Env[Any, Any]:
        return PaysOne(**kwargs)

    gym.register("OwnClass-v0", own)
    try:
        envs = make("OwnClass-v0", 3)
        assert envs.reset([1, 2, 3])["obs"].shape == (3, 1)
    finally:
        del gym.registry["OwnClass-v0"]


def test_a_callable_is_called_once_for_each_copy() -> None:
    made: list[gym.Env[Any, Any]] = []

    def own(**kwargs: Any) -> gym.Env[Any, Any]:
        made.append(pays_one_for_ten_steps())
        return made[-1]

    source = find_env(own, {})
    assert source.name == f"<{own.__qualname__}>"
    assert make_vector_env(source, 3).num_envs == len(made) == 3
    assert len({id(env) for env in made}) == 3


def test_gymnasiums_own_vector_implementation_is_used_where_there_is_one() -> None:
    native = make("CartPole-v1")
    assert isinstance(native, NativeVectorEnv)
    assert isinstance(native.envs, CartPoleVectorEnv)
    assert isinstance(make("Pendulum-v1"), Copies)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "ALE/Pong-v5"])
def test_seeds_decide_the_start(env_id: str) -> None:
    envs = make(env_id)
    first = envs.reset([3, 4])["obs"].copy()
    np.testing.assert_array_equal(envs.reset([3, 4])["obs"], first)
    if env_id != "ALE/Pong-v5":
        assert (envs.reset([5, 6])["obs"] != first).any()


def test_the_step_after_the_end_resets_and_ignores_its_action() -> None:
    envs = make("tests.environments:Counting-v0", 1, lengths=[2], ends=["terminated"])
    envs.reset([0])
    one, two = np.ones(1, np.int64), np.full(1, 2)
    assert envs.step(one).needs_reset.tolist() == [False]
    last = envs.step(two)
    assert (last.needs_reset.tolist(), last.terminated.tolist()) == ([True], [True])
    assert last.obs["obs"][0, 1:].tolist() == [0, 2, 2], "not the true last observation"
    fresh = envs.step(two)
    assert fresh.obs["obs"][0, 1:].tolist() == [1, 0, -1]
    assert (fresh.needs_reset.tolist(), fresh.rewards.tolist()) == ([False], [0.0])


def test_atari_is_84_by_84_grey_and_four_deep() -> None:
    envs = make("ALE/Pong-v5")
    (leaf,) = envs.obs_spec.leaves
    assert (leaf.shape, leaf.dtype, leaf.kind) == ((4, 84, 84), "uint8", "image")
    obs = envs.reset([0, 1])["obs"]
    assert (obs.shape, obs.dtype) == ((2, 4, 84, 84), np.uint8)
    assert obs.max() > 100


@pytest.mark.parametrize(
    ("kwargs", "shape"),
    [
        ({"obs_type": "ram"}, (128,)),
        ({"obs_type": "grayscale"}, (210, 160)),
        ({"mode": 1, "difficulty": 3}, (210, 160, 3)),
    ],
)
def test_what_only_single_games_know_is_stepped_one_by_one(
    kwargs: dict[str, Any], shape: tuple[int, ...]
) -> None:
    envs = make("ALE/Asteroids-v5", **kwargs)
    assert isinstance(envs, Copies)
    assert envs.obs_spec.leaves[0].shape == shape
    assert envs.reset([0, 1])["obs"].shape == (2, *shape)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"modes": 1}, "modes is not allowed for ALE/Pong-v5; did you mean mode"),
        ({"mode": 1, "stack_num": 2}, "mode exclude stack_num"),
        ({"episodic_life": True}, "episodic_life cannot be set"),
        ({"life_loss_info": "no"}, "life_loss_info 'no' is not true or false"),
        ({"mode": 99}, "mode 99 is not allowed for ALE/Pong-v5; allowed: 0, 1"),
        ({"difficulty": [1]}, "difficulty .1. is not allowed for ALE/Pong-v5; allowed: 0, 1, 2, 3"),
    ],
)
def test_what_no_game_knows_is_refused(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"--env-kwargs: {said}"):
        make("ALE/Pong-v5", **kwargs)


def test_a_lost_life_terminates_and_the_game_goes_on_until_the_last() -> None:
    envs = make("ALE/Breakout-v5", 1)
    envs.reset([0])
    lost = 0
    for t in range(2000):
        # fire, and stay: the ball is lost again and again
        step = envs.step(np.full(1, t % 2))
        lost += int(step.terminated[0])
        assert bool(step.needs_reset[0]) == (lost == 5), f"after {lost} lives at step {t}"
        if step.needs_reset[0]:
            break
    assert lost == 5
    fresh = envs.step(np.ones(1, np.int64))
    assert not fresh.terminated[0]
    assert not fresh.needs_reset[0]


def test_lost_lives_can_leave_the_episode_alone() -> None:
    envs = make("ALE/Breakout-v5", 1, life_loss_info=False)
    envs.reset([0])
    steps = [envs.step(np.full(1, t % 2)) for t in range(200)]
    ends = [bool(step.terminated[0]) for step in steps]
    assert ends == [bool(step.needs_reset[0]) for step in steps]
    # the first of five lives is lost within 100 steps
    assert not any(ends[:100])
    assert any(ends)


def test_atari_pays_the_true_reward() -> None:
    envs = make("ALE/SpaceInvaders-v5", 1)
    envs.reset([0])
    # an invader pays 5 at least; a clipped reward would be 1
    fire = np.ones(1, np.int64)
    paid = {float(envs.step(fire).rewards[0]) for _ in range(150)}
    assert min(paid - {0.0}) >= 5


def test_mujoco_leaves_no_log_file_and_nothing_on_stderr(tmp_path: Path) -> None:
    code = (
        "import numpy as np\n"
        "from distpg.envs.make import find_env, make_vector_env\n"
        "envs = make_vector_env(find_env('HalfCheetah-v5', {}), 1)\n"
        "obs = envs.reset([0])['obs']\n"
        "assert obs.dtype == np.float32, obs.dtype\n"
        "for _ in range(3): envs.step(np.ones((1, 6), np.float32))\n"
        # a state that blows up is what MuJoCo warns of
        "inner = envs.guards[0].env.unwrapped\n"
        "inner.data.qvel[:] = 1e12\n"
        "inner.data.qpos[:] = 1e12\n"
        "envs.step(np.ones((1, 6), np.float32))\n"
        "assert any(inner.data.warning.number), 'MuJoCo had nothing to warn of'\n"
    )
    root = Path(__file__).parents[2]
    done = run_python(f"import sys; sys.path.insert(0, {str(root)!r})\n{code}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == done.stdout == ""
    assert not list(tmp_path.iterdir())
