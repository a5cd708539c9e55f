"""A cluster that cannot be joined: one line says why, and what to do."""

import re
import socket

import pytest

from distpg.actors import gcs, joining
from distpg.actors.ray_internals import no_op
from distpg.errors import InputError


def refusal(address: str = "10.0.0.1:6379") -> str:
    with pytest.raises(InputError) as caught:
        joining.check_joinable(address)
    return str(caught.value)


def test_what_listens_and_is_no_cluster_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = refusal(f"127.0.0.1:{port}")
        assert f"no Ray cluster answers at 127.0.0.1:{port}" in said
        assert "DEADLINE_EXCEEDED" in said
    assert "Connection refused" in refusal(f"127.0.0.1:{port}")
    assert "not of the form host:port" in refusal("nowhere")


@pytest.mark.parametrize(
    ("mode", "own", "clusters", "said"),
    [
        ("token", "mine", "theirs", r"wrong token: .* refuses the one in RAY_AUTH_TOKEN;"),
        ("token", "mine", "", r"RAY_AUTH_MODE is token here, but .* set RAY_AUTH_MODE=disabled"),
        ("token", "", "theirs", r"this machine has none; copy ~/\.ray/auth_token"),
        ("disabled", "", "theirs", r"wants a token; set RAY_AUTH_MODE=token"),
        ("token", "same", "same", ""),
        ("disabled", "", "", ""),
    ],
)
def test_tokens_that_differ_are_named(
    mode: str, own: str, clusters: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(address: str, token: str) -> str:
        return "OK" if token == clusters or not clusters else "UNAUTHENTICATED"

    monkeypatch.setattr(gcs, "answer", answer)
    monkeypatch.setattr(gcs, "uses_tokens", lambda: mode == "token")
    monkeypatch.setattr(gcs, "token", lambda: own)
    monkeypatch.setenv("RAY_AUTH_TOKEN", own)
    if not said:
        joining.check_token("10.0.0.1:6379")
        return
    with pytest.raises(InputError) as caught:
        joining.check_token("10.0.0.1:6379")
    assert re.search(said, str(caught.value)), caught.value
    assert "10.0.0.1:6379" in str(caught.value)


def test_other_versions_are_named() -> None:
    theirs = {"ray_version": "2.59.1", "python_version": "3.10.2"}
    with pytest.raises(InputError, match=r"runs Ray 2\.59\.1 and Python 3\.10\.2, this process"):
        joining.check_versions("10.0.0.1:6379", theirs)
    joining.check_versions("10.0.0.1:6379", gcs.own_versions())


def test_a_machine_that_is_no_node_is_told_how_to_become_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look_up(address: str) -> tuple[dict[str, str], bool]:
        return gcs.own_versions(), False

    monkeypatch.setattr(joining, "ping", no_op)
    monkeypatch.setattr(joining, "check_token", no_op)
    monkeypatch.setattr(gcs, "look_up", look_up)
    assert "run `ray start --address 10.0.0.1:6379 --num-cpus 0` here first" in refusal()
