"""Recurrent layers between encoder and head.

If policy and critic share them, the state carried by the behaviour policy is all that values need;
that of a critic's own is carried by the learner. B steps, L layers of H units, S the size of the
recurrent state (L * H for a GRU, 2 * L * H for an LSTM: first all hidden, then all cell states).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

RECURRENT_STATE, SEQUENCE = "/recurrent_state", "/sequence"
"""Inputs of a recurrent policy besides the observation: [B, S] the state before the step, and [B]
int64 the sequence that the step belongs to. No leaf has such a name.
"""
CRITIC_STATE = "/critic_state"
"""Input of a critic with recurrent layers of its own: [B, S] their state before the step."""
KINDS: dict[str, type[nn.GRU | nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class Recurrent(nn.Module):
    """A GRU (Cho et al. 2014) or an LSTM (Hochreiter and Schmidhuber 1997)."""

    def __init__(self, kind: str, num_inputs: int, size: int, num_layers: int = 1) -> None:
        """Make layers of `size` units, one after the other: orthogonal weights, biases 0."""
        super().__init__()
        self.layer = KINDS[kind](num_inputs, size, num_layers)
        for name, parameter in self.layer.named_parameters():
            if name.startswith("weight"):
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)
        self.num_features = size
        self.state_size = size * num_layers * (2 if kind == "lstm" else 1)

    def step(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step of N envs, from [N, F] features and [N, S] state.

        Returns:
            [N, H] features and [N, S] the next state.
        """
        outputs, state = self._run(features.unsqueeze(0), state)
        return outputs.squeeze(0), state

    def forward(
        self, features: Tensor, inputs: Mapping[str, Tensor], state: str = RECURRENT_STATE
    ) -> Tensor:
        """Turn [B, F] features into [B, H], unrolled over sequences.

        Rows of a sequence are in the order of time, possibly with rows of others between them. Its
        first row starts from the recurrent state of `inputs`, all others from the row before.

        Args:
            features: Of the rows.
            inputs: With their sequences, and the state named `state`.
            state: RECURRENT_STATE or CRITIC_STATE.
        """
        order = inputs[SEQUENCE].argsort(stable=True)
        _, numbers, lengths = inputs[SEQUENCE][order].unique_consecutive(
            return_inverse=True, return_counts=True
        )
        firsts = lengths.cumsum(0) - lengths
        place = torch.arange(len(order), device=order.device) - firsts[numbers]
        longest = int(lengths.max())
        # time first; padding comes after a sequence's end, where it changes nothing
        padded = features.new_zeros(longest, len(lengths), features.shape[-1])
        padded[place, numbers] = features[order]
        outputs, _ = self._run(padded, inputs[state][order[firsts]])
        return outputs[place, numbers][inverse_permutation(order)]

    def _run(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Run [L, N, F] from state [N, S]; return [L, N, H] and the last state."""
        # torch's own kernels: cuDNN's cannot be differentiated twice, which a trust region needs
        with torch.backends.cudnn.flags(enabled=False):
            if isinstance(self.layer, nn.LSTM):
                hidden, cell = map(self._by_layer, state.chunk(2, -1))
                outputs, (hidden, cell) = self.layer(features, (hidden, cell))
                return outputs, torch.cat([side_by_side(hidden), side_by_side(cell)], -1)
            outputs, hidden = self.layer(features, self._by_layer(state))
            return outputs, side_by_side(hidden)

    def _by_layer(self, state: Tensor) -> Tensor:
        """Turn [N, L * H] into [L, N, H]."""
        return state.unflatten(-1, (-1, self.num_features)).movedim(-2, 0)


def side_by_side(state: Tensor) -> Tensor:
    """Turn [L, N, H] into [N, L * H]."""
    return state.movedim(0, -2).flatten(-2)


def inverse_permutation(order: Tensor) -> Tensor:
    """Return the [B] int64 permutation that undoes [B] int64 `order`."""
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return inverse
