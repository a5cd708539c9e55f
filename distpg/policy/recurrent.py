"""Memory: a recurrent layer between the encoder and the heads, shared by policy and critic.

Shared, since the state that it acted from is then all that values need: the critic has none of its
own to carry. B steps, H features, S numbers of memory (H of a GRU, 2H of an LSTM).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

RECURRENT_STATE, SEQUENCE = "/memory", "/sequence"
"""What a recurrent policy sees of a step besides its observation: [B, S] the memory before it, and
[B] int64 the sequence that it belongs to. No leaf has such a name.
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

    def step(self, features: Tensor, recurrent_state: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step of N envs, [N, F] from memory [N, S].

        Returns:
            [N, H] features, and [N, S] the memory afterwards.
        """
        outputs, recurrent_state = self._run(features.unsqueeze(0), recurrent_state)
        return outputs.squeeze(0), recurrent_state

    def forward(self, features: Tensor, seen: Mapping[str, Tensor]) -> Tensor:
        """Turn [B, F] features into [B, H], unrolled over sequences.

        Rows of a sequence are in the order of time, whatever stands between them; its first row
        starts from the memory that stands beside it, all others from the row before.
        """
        order = seen[SEQUENCE].argsort(stable=True)
        _, numbers, lengths = seen[SEQUENCE][order].unique_consecutive(
            return_inverse=True, return_counts=True
        )
        firsts = lengths.cumsum(0) - lengths
        place = torch.arange(len(order), device=order.device) - firsts[numbers]
        longest = int(lengths.max())
        # time first; what is beyond a sequence's end comes after all that is used
        padded = features.new_zeros(longest, len(lengths), features.shape[-1])
        padded[place, numbers] = features[order]
        outputs, _ = self._run(padded, seen[RECURRENT_STATE][order[firsts]])
        unsorted = torch.empty_like(order)
        unsorted[order] = torch.arange(len(order), device=order.device)
        return outputs[place, numbers][unsorted]

    def _run(self, features: Tensor, recurrent_state: Tensor) -> tuple[Tensor, Tensor]:
        """Run [L, N, F] from memory [N, S]; return [L, N, H] and the memory at the end."""
        # by torch's own kernels: cuDNN's cannot be differentiated twice, as a trust region does
        with torch.backends.cudnn.flags(enabled=False):
            if isinstance(self.layer, nn.LSTM):
                hidden, cell = (part.unsqueeze(0) for part in recurrent_state.chunk(2, -1))
                outputs, (hidden, cell) = self.layer(features, (hidden, cell))
                return outputs, torch.cat([hidden, cell], -1).squeeze(0)
            outputs, hidden = self.layer(features, recurrent_state.unsqueeze(0))
            return outputs, hidden.squeeze(0)
