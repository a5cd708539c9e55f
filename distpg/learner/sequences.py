"""Build network inputs from a batch: single rows, or sequences for recurrent policies.

T steps, N envs, S size of the recurrent state.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from distpg.learner.minibatches import in_chunks
from distpg.policy.actor_critic import Policy
from distpg.policy.recurrent import RECURRENT_STATE, SEQUENCE, Recurrent
from distpg.records import Batch


def network_inputs(policy: Policy, batch: Batch, sequence_length: int) -> dict[str, Tensor]:
    """Normalize the T + 1 rows of observations, {leaf: [(T+1) * N, *O]}, time first.

    For a recurrent policy they include the state before each row, and the number of the row's
    sequence: at most `sequence_length` rows of an episode.
    """
    leaves = {name: leaf.flatten(0, 1) for name, leaf in policy.normalizer(batch.obs).items()}
    rows = policy.encoder.to_memory_format(leaves)
    if policy.recurrent is None:
        return rows
    states = unroll(policy.encoder, policy.recurrent, rows, batch.state, batch.valid)
    return {
        **rows,
        RECURRENT_STATE: states.flatten(0, 1),
        SEQUENCE: number_sequences(batch.valid, sequence_length).flatten(),
    }


def unroll(
    encoder: Callable[[Mapping[str, Tensor]], Tensor],
    recurrent: Recurrent,
    rows: Mapping[str, Tensor],
    state: Tensor,
    valid: Tensor,
) -> Tensor:
    """Unroll a recurrent layer over a batch.

    A step that is not valid resets the env, or is followed by one that does, so the state after it
    is zeros.

    Args:
        encoder: What encodes the layer's inputs.
        recurrent: The layer.
        rows: Normalized observations, {leaf: [(T+1) * N, *O]}, time first.
        state: [N, S] before the first row.
        valid: [T, N]

    Returns:
        [T+1, N, S] the state before each row.
    """
    features = in_chunks(encoder, rows).unflatten(0, (len(valid) + 1, -1))
    states = [state]
    for step, kept in zip(features, valid, strict=False):
        _, state = recurrent.step(step, states[-1])
        states.append(torch.where(kept.unsqueeze(-1), state, 0.0))
    return torch.stack(states)


def number_sequences(valid: Tensor, length: int) -> Tensor:
    """Number the sequence of each row, [T+1, N] int64, from [T, N] valid.

    A sequence ends with its episode, or after `length` rows.
    """
    none = torch.zeros_like(valid[:1])
    follows = torch.cat([none, valid])
    age = torch.zeros_like(follows, dtype=torch.long)
    for t in range(1, len(age)):
        age[t] = (age[t - 1] + 1) * follows[t]
    # the last observation of an episode, which only needs a value, is a sequence of its own
    starts = (age % length == 0) | ~torch.cat([valid, none])
    return (starts.T.flatten().cumsum(0) - 1).view(starts.T.shape).T
