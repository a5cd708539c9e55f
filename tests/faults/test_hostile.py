"""Files made to do harm, or nonsense: refused in a message, and never executed."""

import hashlib
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from distpg import InputError, load_policy, resume
from distpg.run.checkpoint import list_checkpoints, load_checkpoint
from distpg.run.directory import RunDir
from tests.faults.injection import FaultyWithState
from tests.faults.test_disk import ROOT, trained

FILES = ("policy.safetensors", "learner.safetensors", "slots.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("finished") / "run").path


class Touch:
    """Unpickled, it leaves a file."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, ("pwned",)


def header_of(content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(content) if length is None else length) + content


def overlapping() -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return header_of(json.dumps({"a": entry, "b": entry}).encode()) + bytes(8)


HOSTILE = {
    "pickle": pickle.dumps(Touch()),
    "giant header": header_of(b"{}", length=2**60),
    "header of 200 MB": header_of(b" ", length=200 * 2**20),
    "overlapping": overlapping(),
    "beyond the end": header_of(b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'),
    "not JSON": header_of(b"{'a': 1}"),
    "empty": b"",
    "nothing in it": safetensors.numpy.save({}),
}


def replace(checkpoint: Path, name: str, content: bytes) -> None:
    """Put other bytes in, and a manifest that agrees with them."""
    (checkpoint / name).write_bytes(content)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"][name] = {"bytes": len(content), "sha256": digest}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_by_name_though_its_checksum_is_right(
    finished: Path, kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunDir(Path(shutil.copytree(finished, "run", symlinks=True)))
    newest = list_checkpoints(run)[-1]
    replace(newest, name, HOSTILE[kind])
    if (kind, name) == ("nothing in it", "learner.safetensors"):
        # well-formed, and refused where the learner misses its arrays
        with pytest.raises(InputError, match="is absent"):
            resume(run.path, make_env=FaultyWithState, total_steps=500, quiet=True)
    else:
        with pytest.raises(InputError, match=str(newest)):
            load_checkpoint(newest)
    assert not Path("pwned").exists()


def spoilt(content: bytes, value: float) -> bytes:
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    arrays = safetensors.numpy.load(content)
    name = next(name for name, array in arrays.items() if array.dtype == np.float32)
    arrays[name] = np.full_like(arrays[name], value)
    return safetensors.numpy.save(arrays, header.get("__metadata__"))


@pytest.mark.parametrize("name", FILES[:2])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(
    finished: Path, name: str, value: float, tmp_path: Path
) -> None:
    run = RunDir(Path(shutil.copytree(finished, tmp_path / "run", symlinks=True)))
    newest = list_checkpoints(run)[-1]
    replace(newest, name, spoilt((newest / name).read_bytes(), value))
    with pytest.raises(InputError, match="not finite"):
        load_checkpoint(newest)


def rewritten(content: bytes, change: Callable[[dict[str, np.ndarray], Any], None]) -> bytes:
    """Change the arrays and the slots' JSON of a file."""
    metadata = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]
    arrays, slots = safetensors.numpy.load(content), json.loads(metadata["slots"])
    change(arrays, slots)
    return safetensors.numpy.save(arrays, {"slots": json.dumps(slots)})


def without_place(arrays: dict[str, np.ndarray], slots: Any) -> None:
    del slots[0]["envs"][0]["inner"]["place"]


def of_more_envs(arrays: dict[str, np.ndarray], slots: Any) -> None:
    arrays["0/needs_reset"] = np.zeros(9, bool)
    slots[0]["needs_reset"]["shape"] = [9]


def without_a_slot(arrays: dict[str, np.ndarray], slots: Any) -> None:
    del slots[1]


def without_a_field(arrays: dict[str, np.ndarray], slots: Any) -> None:
    del slots[1]["returns"]


def of_text(arrays: dict[str, np.ndarray], slots: Any) -> None:
    slots[1]["returns"] = "high"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_place, r"slot 0 is not a valid state of .*: KeyError: 'place' \(injection"),
        (of_more_envs, "slot 0 is not a valid state of .*: it is not a state of 2 envs"),
        (without_a_slot, "it has 1 slots; 2 are expected"),
        (without_a_field, "slots.safetensors does not contain slot states: .*returns"),
        (of_text, "slot 1 is not a valid state of"),
    ],
)
def test_slots_that_the_environment_cannot_go_on_from_are_refused(
    change: Callable[[dict[str, np.ndarray], Any], None],
    said: str,
    finished: Path,
    tmp_path: Path,
) -> None:
    run = RunDir(Path(shutil.copytree(finished, tmp_path / "run", symlinks=True)))
    for folder in list_checkpoints(run):
        content = (folder / "slots.safetensors").read_bytes()
        replace(folder, "slots.safetensors", rewritten(content, change))
    with pytest.raises(InputError, match=said) as raised:
        resume(run.path, make_env=FaultyWithState, total_steps=500, quiet=True)
    assert str(run.checkpoints) in str(raised.value)


@pytest.mark.parametrize("name", ["schedules/adapted", "reward_scale/statistics", "optimizer/"])
def test_a_learner_without_an_array_is_refused_with_what_wrote_it(
    name: str, finished: Path, tmp_path: Path
) -> None:
    run = RunDir(Path(shutil.copytree(finished, tmp_path / "run", symlinks=True)))
    newest = list_checkpoints(run)[-1]
    arrays = safetensors.numpy.load((newest / "learner.safetensors").read_bytes())
    gone = next(key for key in sorted(arrays) if key.startswith(name))
    del arrays[gone]
    replace(newest, "learner.safetensors", safetensors.numpy.save(arrays))
    said = rf"{newest}, written by distpg [\d.]+: .*{gone} is absent"
    with pytest.raises(InputError, match=said):
        resume(run.path, make_env=FaultyWithState, total_steps=500, quiet=True)


@pytest.mark.parametrize("obs", ["x", None, {"a": 1}, [1.0], [[[1.0, 2.0]], 3], object()])
def test_what_is_no_observation_is_refused(obs: Any, finished: Path) -> None:
    with pytest.raises(InputError, match="observation"):
        load_policy(finished).act(obs)


def test_a_policy_that_says_it_is_larger_than_its_file_is_refused(
    finished: Path, tmp_path: Path
) -> None:
    content = (finished / "policy.safetensors").read_bytes()
    metadata = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]
    header = json.loads(metadata["distpg"])
    header["architecture"]["hidden_sizes"] = [16384] * 50
    arrays = safetensors.numpy.load(content)
    (tmp_path / "p").write_bytes(safetensors.numpy.save(arrays, {"distpg": json.dumps(header)}))
    with pytest.raises(InputError, match="more than its"):
        load_policy(tmp_path / "p")


def test_a_policy_of_other_shapes_is_refused(finished: Path, tmp_path: Path) -> None:
    content = (finished / "policy.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    arrays = safetensors.numpy.load(content)
    arrays["head.weight"] = arrays["head.weight"][:1]
    (tmp_path / "p").write_bytes(safetensors.numpy.save(arrays, header["__metadata__"]))
    with pytest.raises(InputError, match=r"head.weight is \[1, 8\], \[2, 8\] is expected"):
        load_policy(tmp_path / "p")


def test_what_a_manifest_names_elsewhere_is_not_read(finished: Path, tmp_path: Path) -> None:
    run = RunDir(Path(shutil.copytree(finished, tmp_path / "run", symlinks=True)))
    newest = list_checkpoints(run)[-1]
    manifest = json.loads((newest / "manifest.json").read_text())
    manifest["files"]["../../../../etc/passwd"] = {"bytes": 1, "sha256": ""}
    (newest / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"lists .*passwd"):
        load_checkpoint(newest)


def test_a_link_in_the_place_of_a_file_is_refused(finished: Path, tmp_path: Path) -> None:
    run = RunDir(Path(shutil.copytree(finished, tmp_path / "run", symlinks=True)))
    newest = list_checkpoints(run)[-1]
    (newest / "learner.safetensors").rename(tmp_path / "elsewhere")
    (newest / "learner.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a symlink"):
        load_checkpoint(newest)


def test_nothing_that_is_read_from_disk_is_unpickled_or_executed(finished: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "import torch, ray\n"
        "from distpg import load_config, load_policy\n"
        "from distpg.run.directory import RunDir\n"
        "from distpg.run.loading import load_newest\n"
        "from distpg.policy.play import SavedPolicy\n"
        "import distpg.commands.evaluate\n"
        "seen = []\n"
        "def hook(event, arguments):\n"
        "    if event in ('pickle.find_class', 'marshal.loads', 'exec', 'compile'):\n"
        "        seen.append((event, str(arguments)[:80]))\n"
        "run = RunDir(Path(sys.argv[1]))\n"
        "load_policy(run.path), load_config(run.config), load_newest(run)\n"
        "sys.addaudithook(hook)\n"
        "load_config(run.config)\n"
        "load_policy(run.path)\n"
        "checkpoint, problems = load_newest(run)\n"
        "assert checkpoint.slots and not problems\n"
        "print(seen)\n"
    )
    command = [sys.executable, "-c", script, str(finished)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.thorough
def test_the_encoder_that_a_policy_file_names_is_not_imported(
    finished: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))
    (tmp_path / "snare.py").write_text("import pathlib\npathlib.Path('pwned').touch()\n")
    for file in run.rglob("policy.safetensors"):
        content = file.read_bytes()
        metadata = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]
        header = json.loads(metadata["distpg"])
        header["architecture"]["encoder"] = "snare:Net"
        arrays = safetensors.numpy.load(content)
        content = safetensors.numpy.save(arrays, {"distpg": json.dumps(header)})
        if file.parent == run:
            file.write_bytes(content)
        else:
            replace(file.parent, file.name, content)
    config = (run / "config.toml").read_text()
    config = config.replace('\nencoder = "none"\n', '\nencoder = "snare:Net"\n')
    config = config.replace('\nacting = "numpy"\n', '\nacting = "torch"\n')
    (run / "config.toml").write_text(config)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from distpg import InputError, load_config, load_policy\n"
        "from distpg.run.loading import load_networks, load_newest, load_policy_file\n"
        "from distpg.policy.file import read_policy\n"
        "from distpg.run.directory import RunDir\n"
        "import distpg.policy.play\n"
        "seen = []\n"
        "def hook(event, arguments):\n"
        "    if event in ('import', 'exec', 'compile') and 'snare' in str(arguments):\n"
        "        seen.append((event, str(arguments)[:80]))\n"
        "sys.addaudithook(hook)\n"
        "run = RunDir(Path(sys.argv[1]))\n"
        "assert load_config(run.config).encoder == 'snare:Net'\n"
        "assert read_policy(run.policy).architecture.encoder == 'snare:Net'\n"
        "load_newest(run), load_networks(run), load_policy_file(run)\n"
        "for path in (run.path, run.policy):\n"
        "    try:\n"
        "        load_policy(path)\n"
        "    except InputError as error:\n"
        "        print(error)\n"
        "import importlib\n"
        "print(seen, 'snare' in sys.modules, importlib.util.find_spec('snare') is not None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(run)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
        timeout=120,
        check=False,
    )
    *refused, said = done.stdout.splitlines()
    assert said == "[] False True", done.stdout + done.stderr
    assert len(refused) == 2
    assert all("snare:Net" in line and "load_policy(run, encoder=" in line for line in refused)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("place", ["lock", "config.toml.tmp"])
def test_nothing_is_written_through_a_link_in_a_run_directory(
    place: str, finished: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))
    victim = tmp_path / "victim"
    victim.write_text("dear")
    (run / place).symlink_to(victim)
    if place == "lock":
        with pytest.raises(InputError, match="cannot be written"):
            resume(run, make_env=FaultyWithState, total_steps=500, quiet=True)
    else:
        resume(run, make_env=FaultyWithState, total_steps=500, quiet=True)
    assert victim.read_text() == "dear"


def test_checkpoints_that_are_a_link_are_refused(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))
    (run / "checkpoints").rename(tmp_path / "elsewhere")
    (run / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a symlink, which is not allowed"):
        resume(run, make_env=FaultyWithState, total_steps=500, quiet=True)
