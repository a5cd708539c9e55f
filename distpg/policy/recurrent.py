"""Recurrent layer between encoder and heads, shared by policy and critic.

It is shared so that the state carried by the behaviour policy is all that values need. B steps, H
features, S the size of the recurrent state (H for a GRU, 2H for an LSTM).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

RECURRENT_STATE, SEQUENCE = "/recurrent_state", "/sequence"
"""Inputs of a recurrent policy besides the observation: [B, S] the state before the step, and [B]
int64 the sequence that the step belongs to. No leaf has such a name.
"""
KINDS: dict[str, type[nn.GRU | nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class Recurrent(nn.Module):
    """A GRU (Cho et al. 2014) or an LSTM (Hochreiter and Schmidhuber 1997)."""

    def __init__(self, kind: str, num_inputs: int, size: int) -> None:
        """Make one of `size` units: orthogonal weights, biases 0."""
        super().__init__()
        self.layer = KINDS[kind](num_inputs, size)
        for name, parameter in self.layer.named_parameters():
            if name.startswith("weight"):
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)
        self.num_features = size

    def step(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step of N envs, from [N, F] features and [N, S] state.

        Returns:
            [N, H] features and [N, S] the next state.
        """
        outputs, state = self._run(features.unsqueeze(0), state)
        return outputs.squeeze(0), state

    def forward(self, features: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Turn [B, F] features into [B, H], unrolled over sequences.

        Rows of a sequence are in the order of time, possibly with rows of others between them. Its
        first row starts from the recurrent state of `inputs`, all others from the row before.
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
        outputs, _ = self._run(padded, inputs[RECURRENT_STATE][order[firsts]])
        return outputs[place, numbers][inverse_permutation(order)]

    def _run(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Run [L, N, F] from state [N, S]; return [L, N, H] and the last state."""
        # torch's own kernels: cuDNN's cannot be differentiated twice, which a trust region needs
        with torch.backends.cudnn.flags(enabled=False):
            if isinstance(self.layer, nn.LSTM):
                hidden, cell = (part.unsqueeze(0) for part in state.chunk(2, -1))
                outputs, (hidden, cell) = self.layer(features, (hidden, cell))
                return outputs, torch.cat([hidden, cell], -1).squeeze(0)
            outputs, hidden = self.layer(features, state.unsqueeze(0))
            return outputs, hidden.squeeze(0)


def inverse_permutation(order: Tensor) -> Tensor:
    """Return the [B] int64 permutation that undoes [B] int64 `order`."""
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return inverse
