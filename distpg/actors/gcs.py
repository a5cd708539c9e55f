"""What Ray's control store (GCS) tells of a cluster, by private names of Ray.

This module is sent to the cluster's head, where distpg may be missing.
"""

import os
from typing import Any

CLUSTER_ID = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""The remote call that every client of a cluster makes first."""
ANSWER_S = 5.0
"""Deadline of an answer."""


def answer(address: str, token: str) -> str:
    """Ask a cluster for its id; return the name of the status, such as OK or UNAUTHENTICATED.

    Ray's own client retries for a long time, and writes to standard error.
    """
    import grpc

    header = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(CLUSTER_ID)
        try:
            call(b"", timeout=ANSWER_S, metadata=header)
        except grpc.RpcError as error:
            status: Any = error
            return status.code().name
    return "OK"


def uses_tls() -> bool:
    """Return whether this process talks to clusters by TLS, as RAY_USE_TLS says."""
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def uses_tokens() -> bool:
    """Return whether this process sends a token to clusters, as RAY_AUTH_MODE says."""
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    return is_token_auth_enabled()


def token() -> str:
    """Return this process's token, or nothing if it has none."""
    from ray import _raylet

    loader = vars(_raylet)["AuthenticationTokenLoader"].instance()
    return loader.get_raw_token(ignore_auth_mode=True)


def look_up(address: str) -> tuple[dict[str, str], bool]:
    """Return the cluster's versions, and whether this machine is one of its nodes."""
    from ray import _raylet
    from ray._common.usage.usage_lib import get_cluster_metadata
    from ray._private.services import find_node_ids

    gcs = vars(_raylet)["GcsClient"](address=address)
    nodes = {node.hex() for node in gcs.get_all_node_info(timeout=ANSWER_S)}
    return get_cluster_metadata(gcs), not nodes.isdisjoint(find_node_ids())


def own_versions() -> dict[str, str]:
    """Return this process's versions, in the words of the cluster's."""
    from ray._private.utils import compute_version_info

    ray_version, python_version = compute_version_info()
    return {"ray_version": ray_version, "python_version": python_version}


def work_together(metadata: dict[str, str]) -> bool:
    """Return whether Ray lets a process with this one's versions join a cluster with others."""
    from ray._private.utils import check_version_info

    try:
        check_version_info(metadata, "")
    except RuntimeError:
        return False
    return True


def seconds_until_lost() -> float:
    """Return after how many seconds without an answer Ray declares a machine lost.

    The GCS decides that. A task on the head node sees the same settings, since `ray start --head`
    gives both the same environment.
    """
    from ray import _raylet

    config = vars(_raylet)["Config"]
    each_ms = config.health_check_period_ms() + config.health_check_timeout_ms()
    return config.health_check_failure_threshold() * each_ms / 1000
