"""Whether an exported policy, run by onnxruntime, acts as the policy does."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from distpg.errors import InputError, RunError, format_error
from distpg.onnx.interface import Interface
from distpg.onnx.observations import draw_obs
from distpg.onnx.packages import import_runtime
from distpg.policy.acting import ActingPolicy
from distpg.policy.actor_critic import Policy
from distpg.policy.greedy import parameters
from distpg.spaces import Obs

BATCHES, STEPS = (1, 9, 240), 4
"""Batch sizes, and steps of each: 1,000 observations."""
NUM_OBSERVATIONS = sum(BATCHES) * STEPS
TOLERANCE = 1e-5
FORBIDDEN = np.finfo(np.float32).min
"""Logit of an action that a mask forbids."""


class Difference(NamedTuple):
    """By how much an output differs from the policy's at most, and which."""

    size: float
    output: str

    def __str__(self) -> str:
        """Describe it in a few words."""
        return f"{self.size:.1e} in {self.output}"


def check_parity(content: bytes, policy: Policy, interface: Interface) -> Difference:
    """Compare an ONNX file with its policy.

    Both act on drawn observations, in batches of several sizes and for several steps, through which
    a recurrent policy keeps its state.

    Returns:
        The largest difference.

    Raises:
        RunError: it is not below 1e-5.
    """
    session = start_session(content)
    rng = np.random.default_rng(0)
    found = [
        difference
        for rows in BATCHES
        for difference in Comparison(session, policy, interface, rows).differences(rng)
    ]
    # one that is not a number is no smaller than any
    worst = max(found, key=lambda difference: (np.isnan(difference.size), difference.size))
    if not worst.size < TOLERANCE:
        raise RunError(
            f"the ONNX file differs from the policy by {worst}, over {NUM_OBSERVATIONS:,} "
            f"observations in onnxruntime; less than {TOLERANCE:g} is allowed, so it is not written"
        )
    return worst


def start_session(content: bytes) -> Any:
    """Return what runs an ONNX file, on one thread.

    Raises:
        RunError: the file has an operation that onnxruntime lacks.
    """
    runtime = import_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # its errors have no class in common
    except Exception as error:
        raise RunError(f"onnxruntime cannot run the ONNX file: {format_error(error)}") from error


class Comparison:
    """The policy beside its ONNX file, in a batch of some size."""

    def __init__(self, session: Any, policy: Policy, interface: Interface, rows: int) -> None:
        """Start episodes."""
        self.session = session
        self.policy = policy
        self.interface = interface
        self.rows = rows
        state = torch.zeros(rows, policy.recurrent_state_size)
        self.acting = ActingPolicy(policy, state)
        self.state = state.numpy()

    def differences(self, rng: np.random.Generator) -> Iterator[Difference]:
        """Take some steps with drawn observations; yield the difference of each output."""
        for _ in range(STEPS):
            yield from self.step(draw_obs(self.policy, self.rows, rng))

    def step(self, obs: Obs) -> Iterator[Difference]:
        """Take a step from {leaf: [N, *O]}; yield the difference of each output."""
        names = [port.name for port in self.interface.inputs]
        # without a state for the policy that has none
        given = dict(zip(names, (*obs.values(), self.state), strict=False))
        action, *rest = self.session.run(None, given)
        sampled, outputs = self.acting.act(obs, np.zeros(self.rows, bool))
        named, *others = (port.name for port in self.interface.outputs)
        yield Difference(self.of_actions(action, sampled, outputs), named)
        expected = list(parameters(self.policy.distribution_of(torch.from_numpy(outputs))).values())
        if self.policy.recurrent is not None:
            expected.append(self.acting.recurrent_state)
            self.state = rest[-1]
        for name, one, other in zip(others, rest, expected, strict=True):
            yield Difference(of_numbers(one, other.numpy(force=True)), name)

    def of_actions(self, found: np.ndarray, sampled: np.ndarray, outputs: np.ndarray) -> float:
        """Return by how much actions of the ONNX file differ from the policy's.

        Args:
            found: Those of the file, [N, *shape].
            sampled: The policy's, before they are mapped to the env's.
            outputs: Of the policy's head.

        Returns:
            Of continuous actions the difference, relative to half their range, or to their size if
            that is more; of others by how much less likely they are, in nats. So of two actions
            that are equally likely, either may be taken.
        """
        spec = self.policy.action_spec
        expected = spec.to_env(self.policy.to_bounds(sampled))
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            return np.inf
        if spec.kind == "continuous":
            _, half = spec.middle_and_half
            scale = np.maximum(half.reshape(spec.shape), np.abs(expected))
            return float((np.abs(found - expected) / np.where(scale > 0, scale, 1)).max())
        try:
            taken = self.policy.from_env(found)
        except InputError:
            return np.inf
        best, other = (self.acting.log_prob(actions, outputs) for actions in (sampled, taken))
        return float((best - other).max())


def of_numbers(found: np.ndarray, expected: np.ndarray) -> float:
    """Return by how much [N, K] numbers differ, relative to the largest of a row if that is > 1."""
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return np.inf
    allowed = np.where(expected == FORBIDDEN, 0, np.abs(expected))
    scale = np.maximum(allowed.max(-1, keepdims=True), 1)
    return float((np.abs(found.astype(np.float64) - expected) / scale).max())
