"""The command line: bad input is one short message and exit code 2, and leaves nothing behind."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from distpg import Config, train
from distpg.cli import main, process_start

ROOT = Path(__file__).parents[1]
MORE_LINES_THAN_NEEDED = 16


def run_main(words: list[str]) -> int:
    """Call the command line in this process; its exit code."""
    try:
        return main(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which tests leave as it is."""
    config = Config(
        num_workers=0, num_envs=2, num_steps=32, minibatch_size=32, hidden_sizes=(8,), total_steps=1
    )
    return train(config, run_dir=tmp_path_factory.mktemp("runs") / "run", quiet=True).run_dir


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def assert_refused(
    words: list[str], offenders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run_main(words) == 2
    said = capsys.readouterr()
    message = said.err + said.out
    flat = " ".join(message.replace("│", " ").split())
    for word in offenders:
        assert word in flat, f"{word!r} is not in: {message}"
    assert "Traceback" not in message
    assert len(message.strip().splitlines()) < MORE_LINES_THAN_NEEDED, message
    assert not list(Path().glob("runs")), "a run directory was left"
    ray = sys.modules.get("ray")
    assert ray is None or not ray.is_initialized(), "a Ray was left running"


ENV = ["--env-id", "CartPole-v1"]


@pytest.mark.parametrize("family", ["squashed_gaussian", "beta"])
@pytest.mark.parametrize("command", ["train", "bench"])
def test_a_distribution_within_bounds_is_refused_where_there_are_none(
    command: str, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, "--env-id", "tests.environments:AnyKind-v0"]
    words += ["--env-kwargs", '{"kind": "unbounded action"}', "--action-distribution", family]
    named = f"--action-distribution: {family}"
    assert_refused(words, [named, "action 0 of 2 has [-inf, inf]"], capsys)


def test_ray_client_is_refused_from_the_environment_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://10.0.0.1:10001")
    words = ["train", *ENV, "--run-dir", "new"]
    assert_refused(words, ["ray://10.0.0.1:10001", "--address auto"], capsys)
    assert not Path("new").exists()


def test_no_arguments_list_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main([]) == 2
    assert run_main(["--help"]) == 0
    said = capsys.readouterr().out
    for command in ("train", "resume", "evaluate"):
        assert command in said


@pytest.mark.parametrize("command", ["train", "imitate", "resume", "evaluate", "bench", "doctor"])
def test_help_lists_every_flag_with_its_meaning(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main([command, "--help"]) == 0
    said = capsys.readouterr().out
    flags = {
        "train": (
            "--algo --env-id --num-workers --num-slots --num-envs --num-steps --episodes-per-env "
            "--total-steps --advantage --bootstrap-steps --rho-bar --c-bar --baseline --surrogate "
            "--importance --importance-clip --kl-coef --kl-target --loss-average --num-epochs "
            "--minibatch-size --learning-rate --lr-schedule --optimizer --momentum --gamma "
            "--gae-lambda --clip-coef --clip-schedule --ent-coef --ent-schedule --vf-coef "
            "--value-clip --value-epochs "
            "--max-grad-norm --target-kl --max-kl --cg-iterations --cg-damping --line-search-steps "
            "--normalize-obs --normalize-rewards --normalize-advantages "
            "--normalize-over --hidden-sizes --activation --encoder --image-encoder "
            "--seed --device --learner-threads "
            "--address --env-kwargs --init-from --run-dir --overwrite --stop-at-return "
            "--checkpoint-every --eval-every --quiet --json-lines --config"
        ),
        "imitate": "--expert --dagger-rounds --expert-rounds --env-id --num-steps --run-dir",
        "resume": "--total-steps --quiet --json-lines",
        "evaluate": "--episodes --stochastic --json",
        "bench": "--config --env-id --num-envs --hidden-sizes --seconds --json",
        "doctor": "--env-id --env-kwargs --address --json",
    }
    for flag in flags[command].split():
        assert flag in said


def test_an_existing_run_is_refused_unless_it_is_to_be_overwritten(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    words = ["train", *ENV, "--run-dir", str(finished)]
    assert_refused(words, ["--run-dir", str(finished), "--overwrite", "resume"], capsys)
    # what cannot start does not cost the old run either
    assert_refused([*words, "--overwrite", "--device", "cuda", "--num-workers", "0"], [], capsys)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_overwrite_spares_a_folder_that_is_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter").write_text("dear")
    words = ["train", *ENV, "--num-workers", "0", "--run-dir", "thesis"]
    assert_refused([*words, "--overwrite"], ["--overwrite", "thesis", "chapter"], capsys)
    assert_refused(words, ["--run-dir", "thesis"], capsys)
    assert [path.name for path in Path("thesis").iterdir()] == ["chapter"]


def test_overwrite_spares_a_run_that_holds_files_of_the_users(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", *ENV, *ONE_ITERATION, "--run-dir", "mine"]
    assert run_main(words) == 0, capsys.readouterr().err
    Path("mine/notes.txt").write_text("dear")
    assert_refused([*words, "--overwrite"], ["--overwrite", "mine", "notes.txt"], capsys)
    Path("mine/notes.txt").unlink()
    assert run_main([*words, "--overwrite"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", ["file", "file/below", "file/far/below", "/proc/run"])
def test_a_run_directory_that_cannot_be_written_is_refused(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    words = ["train", *ENV, "--num-workers", "0", "--run-dir", path]
    assert_refused(words, ["--run-dir", path], capsys)
    assert [found.name for found in Path().iterdir()] == ["file"]


def test_an_env_that_cannot_be_leaves_no_folder_behind(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--env-id", "CartPol-v1", "--run-dir", "far/away/run"]
    assert_refused(words, ["CartPol-v1"], capsys)
    words = ["train", *ENV, "--num-workers", "0", "--device", "cuda", "--run-dir", "far/away/run"]
    assert_refused(words, ["--device"], capsys)
    assert not list(Path().iterdir())


SMALL = ["--num-workers", "0", "--num-envs", "2", "--num-steps", "32", "--hidden-sizes", "8"]
ONE_ITERATION = [*SMALL, "--total-steps", "1", "--quiet", "--run-dir", "run"]


def written() -> str:
    return Path("run/config.toml").read_text()


def test_flags_come_before_the_file_the_file_before_the_preset_and_the_preset_before_the_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("my.toml").write_text('algo = "a2c"\ngamma = 0.5\nlearning_rate = 0.125\n')
    words = ["train", "--config", "my.toml", "--gamma", "0.25", *ONE_ITERATION]
    assert run_main(words) == 0, capsys.readouterr().err
    config = written()
    assert "gamma = 0.25" in config
    assert "learning_rate = 0.125" in config
    assert 'surrogate = "log_prob"' in config
    assert "max_grad_norm = 0.5" in config


def test_a_file_without_an_algo_takes_the_presets_of_the_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("my.toml").write_text('surrogate = "log_prob"\n')
    words = ["train", "--config", "my.toml", "--algo", "a2c", *ONE_ITERATION]
    assert run_main(words) == 0, capsys.readouterr().err
    assert 'algo = "a2c"' in written()
    assert "num_epochs = 1\n" in written()


def test_flags_are_checked_together_with_the_file_not_after_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # 2000 samples are more than the file's own batch; with the flags they are not
    Path("my.toml").write_text("minibatch_size = 2000\nnum_workers = 0\n")
    words = ["train", "--config", "my.toml", "--num-envs", "2", "--num-steps", "1000"]
    words += ["--num-epochs", "1", "--hidden-sizes", "8", "--total-steps", "1", "--quiet"]
    assert run_main([*words, "--run-dir", "run"]) == 0, capsys.readouterr().err


def test_no_hidden_layers_and_all_rewards_are_spelt_as_an_empty_list_and_inf(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", *ENV, "--advantage", "n_step", "--bootstrap-steps", "inf", *ONE_ITERATION]
    assert run_main([*words, "--hidden-sizes"]) == 0, capsys.readouterr().err
    assert "hidden_sizes = []" in written()
    assert 'bootstrap_steps = "inf"' in written()


def test_a_switch_is_turned_off_by_its_no_and_none_is_spelt_as_in_files(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", *ENV, "--no-normalize-obs", "--minibatch-size", "none"]
    words += ["--env-kwargs", '{"sutton_barto_reward": true}', *ONE_ITERATION]
    assert run_main(words) == 0, capsys.readouterr().err
    assert "normalize_obs = false" in written()
    assert 'minibatch_size = "none"' in written()
    assert "sutton_barto_reward = true" in written()


@pytest.mark.parametrize("word", ["1.5", "1e6", "nan", "10k", ""])
def test_what_is_not_a_whole_number_is_refused_in_these_words(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(["config", "--total-steps", word], ["--total-steps", "not a whole"], capsys)


@pytest.mark.parametrize(
    "words",
    [["--total-steps", "0"], ["--total-steps", "-1"], ["--stop-at-return", "nan"], []],
    ids=" ".join,
)
def test_a_bad_flag_of_resume_is_refused_and_changes_nothing(
    finished: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert_refused(["resume", str(finished), *words], words or ["--total-steps"], capsys)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def copy_of(run: Path) -> Path:
    return Path(shutil.copytree(run, "copy"))


@pytest.mark.parametrize("name", ["learner.safetensors", "policy.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_checkpoint_is_refused_by_resume_and_init_from(
    finished: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(finished)
    (checkpoint,) = (run / "checkpoints").glob("[0-9]*")
    file = checkpoint / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    named = [str(checkpoint)]
    assert_refused(["resume", str(run), "--total-steps", "10000"], named, capsys)
    words = ["train", *ENV, *SMALL, "--init-from", str(run), "--run-dir", "new"]
    assert_refused(words, named, capsys)
    assert not Path("new").exists()


def launch(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train", "--help"], 0, "--num-workers"),
        (["train", "--address", "ray://x:1"], 2, "ray://x:1 is Ray Client"),
        (
            ["train", *ENV, *SMALL, "--total-steps", "1", "--run-dir", "run"],
            0,
            "launch.py evaluate run",
        ),
    ],
    ids=["help", "ray client", "a run"],
)
def test_as_a_process_it_ends_with_the_same_codes_and_words(
    words: list[str], code: int, said: str
) -> None:
    done = launch(*words)
    assert done.returncode == code, done.stderr
    assert said in (done.stdout if code == 0 else done.stderr)
    assert "Traceback" not in done.stderr
    assert Path("run").exists() == ("run" in words)


def test_the_start_of_the_process_is_that_of_its_creation_but_for_the_boot_time_s_fraction() -> (
    None
):
    started = process_start()
    assert abs(started - psutil.Process().create_time()) <= 1.5
    assert started < time.time()
