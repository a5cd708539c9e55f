"""What the networks see of a batch: every row by itself, or in sequences of a recurrent policy.

T steps, N envs, S numbers of memory.
"""

import torch
from torch import Tensor

from distpg.learner.minibatches import in_chunks
from distpg.policy.actor_critic import Policy
from distpg.policy.recurrent import RECURRENT_STATE, SEQUENCE
from distpg.records import Batch


def network_inputs(policy: Policy, batch: Batch, sequence_length: int) -> dict[str, Tensor]:
    """Normalize the T + 1 rows of observations, {leaf: [(T+1) * N, *O]}, time first.

    For a recurrent policy, with what it remembered before each row, and the number of the row's
    sequence: at most `sequence_length` rows of an episode.
    """
    leaves = {name: leaf.flatten(0, 1) for name, leaf in policy.normalizer(batch.obs).items()}
    rows = policy.encoder.to_memory_format(leaves)
    if policy.recurrent is None:
        return rows
    recurrent_state = unroll(policy, rows, batch.state, batch.valid)
    return {
        **rows,
        RECURRENT_STATE: recurrent_state.flatten(0, 1),
        SEQUENCE: number_sequences(batch.valid, sequence_length).flatten(),
    }


def unroll(policy: Policy, rows: dict[str, Tensor], state: Tensor, valid: Tensor) -> Tensor:
    """Unroll the policy over a batch, from the memory [N, S] of its first row.

    A step that is not valid resets the env, or is followed by one that does; so nothing is
    remembered after it.

    Returns:
        [T+1, N, S] the memory before each row.
    """
    assert policy.recurrent is not None, "a feed-forward policy has no memory"
    features = in_chunks(policy.encoder, rows).unflatten(0, (len(valid) + 1, -1))
    memories = [state]
    for step, kept in zip(features, valid, strict=False):
        _, recurrent_state = policy.recurrent.step(step, memories[-1])
        memories.append(torch.where(kept.unsqueeze(-1), recurrent_state, 0.0))
    return torch.stack(memories)


def number_sequences(valid: Tensor, length: int) -> Tensor:
    """Give each row the number of its sequence, [T+1, N] int64, from [T, N] valid.

    Sequences are cut where an episode ends, and after `length` rows.
    """
    nowhere = torch.zeros_like(valid[:1])
    follows = torch.cat([nowhere, valid])
    age = torch.zeros_like(follows, dtype=torch.long)
    for t in range(1, len(age)):
        age[t] = (age[t - 1] + 1) * follows[t]
    # the last observation of an episode, which is only valued, stands by itself
    starts = (age % length == 0) | ~torch.cat([valid, nowhere])
    return (starts.T.flatten().cumsum(0) - 1).view(starts.T.shape).T
