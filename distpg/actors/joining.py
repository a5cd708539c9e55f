"""Whether a cluster can be joined; Ray would try for 20 to 60 s, and not say why it failed."""

import os

from distpg.actors import gcs
from distpg.actors.head import ping
from distpg.actors.ray_internals import running_cluster
from distpg.errors import InputError

TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""From where Ray reads a token, in this order, before ~/.ray/auth_token."""


def find_cluster() -> str:
    """Return host:port of the cluster that `--address auto` joins.

    Raises:
        InputError: Ray does not run on this machine, or for several clusters.
    """
    try:
        return running_cluster()
    except ConnectionError as error:
        found, _, _ = str(error).partition(". ")
        raise InputError(
            "--address: auto, but this machine is not a node of one Ray cluster; start one with "
            "`ray start --head`, join one with `ray start --address HOST:PORT --num-cpus 0`, or "
            f"omit --address and RAY_ADDRESS to run on this machine only ({found})"
        ) from error


def check_joinable(address: str) -> None:
    """Check that this process can join a cluster.

    Raises:
        InputError: nothing answers there, tokens or versions differ, or this machine is no node.
    """
    try:
        ping(address)
    except (OSError, ValueError) as error:
        raise no_answer(address, str(error)) from error
    # a cluster with certificates says nothing to who has none
    if not gcs.uses_tls():
        check_token(address)
    metadata, is_node = gcs.look_up(address)
    check_versions(address, metadata)
    if not is_node:
        raise InputError(
            f"--address: this machine is no node of the cluster at {address}; run "
            f"`ray start --address {address} --num-cpus 0` here first"
        )


def check_token(address: str) -> None:
    """Check that cluster and process both use the same token, or none.

    Raises:
        InputError: one of them uses a token, or another one, or no cluster answers.
    """
    answer = gcs.answer(address, token="")
    if answer not in ("OK", "UNAUTHENTICATED"):
        raise no_answer(address, f"its answer is {answer}")
    wanted, used = answer == "UNAUTHENTICATED", gcs.uses_tokens()
    if used and not wanted:
        raise InputError(
            f"--address: RAY_AUTH_MODE is token here, but the cluster at {address} uses no tokens; "
            "set RAY_AUTH_MODE=disabled here, or start every node with RAY_AUTH_MODE=token"
        )
    if wanted and not used:
        raise InputError(
            f"--address: the cluster at {address} wants a token; set RAY_AUTH_MODE=token, and copy "
            "~/.ray/auth_token from its head to this machine"
        )
    if not wanted:
        return
    token = gcs.token()
    if not token:
        raise InputError(
            "--address: RAY_AUTH_MODE is token, but this machine has none; copy ~/.ray/auth_token "
            f"from the head of the cluster at {address}"
        )
    if gcs.answer(address, token) == "UNAUTHENTICATED":
        set_here = [name for name in TOKEN_VARIABLES if os.environ.get(name)]
        source = set_here[0] if set_here else "~/.ray/auth_token"
        raise InputError(
            f"--address: wrong token: the cluster at {address} refuses the one in {source}; use "
            "that of its head, which is in RAY_AUTH_TOKEN or ~/.ray/auth_token there"
        )


def check_versions(address: str, metadata: dict[str, str]) -> None:
    """Check that cluster and process run the same Ray and Python.

    Raises:
        InputError: they do not.
    """
    if not gcs.work_together(metadata):
        raise InputError(
            f"--address: the cluster at {address} runs {versions(metadata)}, this process "
            f"{versions(gcs.own_versions())}; install the same versions on every machine"
        )


def versions(of: dict[str, str]) -> str:
    """Name the versions of a cluster or a process."""
    return f"Ray {of['ray_version']} and Python {of['python_version']}"


def no_answer(address: str, problem: str) -> InputError:
    """Word that there is no cluster."""
    return InputError(
        f"--address: no Ray cluster answers at {address}; start one with `ray start --head`, or "
        f"omit --address and RAY_ADDRESS to run on this machine only ({problem})"
    )
