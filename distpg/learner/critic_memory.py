"""The recurrent state of a critic with a recurrent layer of its own, from batch to batch.

Workers have no critic. So the learner unrolls its layer over each batch, and keeps the state that
the next batch begins with. T steps, N envs, S size of the recurrent state.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from distpg.learner.sequences import unroll
from distpg.policy.critic import ActorCritic
from distpg.policy.recurrent import CRITIC_STATE, Recurrent
from distpg.records import Batch


class CriticMemory:
    """Recurrent states after the last batch, and the observations that they belong to."""

    def __init__(self, model: ActorCritic) -> None:
        """Remember nothing; a critic without a recurrent layer of its own never does."""
        self.model = model
        self.kept: dict[str, Tensor] = {}
        """[N, S] states, named state, and observations, named obs/LEAF, [N, *O]."""
        self.next = self.kept
        """Those after the batch that was unrolled last."""

    def inputs(self, rows: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return the state before each row as inputs of the model, [(T+1) * N, S], if there is one.

        Args:
            rows: Normalized observations, {leaf: [(T+1) * N, *O]}, time first.
            batch: They are of.
        """
        if "recurrent" not in self.model.critic:
            return {}
        layer = self.model.critic["recurrent"]
        assert isinstance(layer, Recurrent)
        first = self.first_state(batch, layer.state_size)
        states = unroll(self.model.critic_encoder, layer, rows, first, batch.valid)
        self.next = {"state": states[-1], **last_of(batch)}
        return {CRITIC_STATE: states.flatten(0, 1)}

    def first_state(self, batch: Batch, size: int) -> Tensor:
        """Return the state before the first row of a batch, [N, S].

        It is what was kept where the episode continues: the observation is the last one, and the
        policy remembers something. Elsewhere it is zeros, also where batches between were dropped,
        or the env was lost.
        """
        zeros = batch.state.new_zeros(len(batch.state), size)
        if not self.kept:
            return zeros
        continues = batch.state.any(-1)
        for name, leaf in batch.obs.items():
            same = self.kept[f"obs/{name}"] == leaf[0]
            continues = continues & same.reshape(len(same), -1).all(-1)
        return torch.where(continues.unsqueeze(-1), self.kept["state"], zeros)

    def advance(self) -> None:
        """Keep what the batch that was unrolled last ends with."""
        self.kept = self.next

    def arrays(self) -> dict[str, np.ndarray]:
        """Copy what is kept into arrays."""
        return {name: kept.numpy(force=True).copy() for name, kept in self.kept.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restore what `arrays` returned; without any, nothing is remembered."""
        device = next(self.model.parameters()).device
        self.kept = {name: torch.tensor(array, device=device) for name, array in arrays.items()}


def last_of(batch: Batch) -> dict[str, Tensor]:
    """Return the last observations of a batch, {obs/LEAF: [N, *O]}."""
    return {f"obs/{name}": leaf[-1].clone() for name, leaf in batch.obs.items()}
