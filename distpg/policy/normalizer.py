"""Observation statistics: part of the policy, frozen while it acts, moved after each update."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distpg.spaces import Leaf

Constants = tuple[Tensor, Tensor]


class LeafNormalizer(nn.Module):
    """Running mean and variance of one vector leaf, merged batch by batch (Chan et al. 1979)."""

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Start from no data, which leaves observations as they are."""
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(shape, dtype=torch.float64))

    def constants(self) -> Constants:
        """Return mean and scale in float32, to be taken as they are until the statistics move."""
        return self.mean.float(), (self.variance + 1e-8).rsqrt().float()

    def forward(self, obs: Tensor, constants: Constants | None = None) -> Tensor:
        """Standardize float32 [*B, *O] and cut it to [-10, 10]."""
        mean, scale = constants or self.constants()
        return ((obs - mean) * scale).clamp(-10, 10)

    @torch.no_grad()
    def merge(self, obs: Tensor) -> None:
        """Take [B, *O] new observations into the statistics."""
        fresh = obs.double()
        total = self.count + len(fresh)
        delta = fresh.mean(0) - self.mean
        between = delta.square() * self.count * len(fresh) / total
        moment = self.variance * self.count + fresh.var(0, correction=0) * len(fresh) + between
        self.mean.add_(delta * len(fresh) / total)
        self.variance.copy_(moment / total)
        self.count.copy_(total)


class ObsNormalizer(nn.Module):
    """A normalizer for each vector leaf; other leaves, and all if it is off, pass through."""

    def __init__(self, leaves: tuple[Leaf, ...], *, enabled: bool) -> None:
        """Make statistics for the leaves that have a scale: real arrays."""
        super().__init__()
        scaled = [leaf for leaf in leaves if leaf.kind == "vector" and enabled]
        # module names may not hold dots or slashes, which a leaf's name may
        self.names = {leaf.name: str(number) for number, leaf in enumerate(scaled)}
        self.leaves = nn.ModuleDict(
            {self.names[leaf.name]: LeafNormalizer(leaf.shape) for leaf in scaled}
        )

    def constants(self) -> dict[str, Constants]:
        """Return each leaf's mean and scale, which many calls of `forward` may share."""
        return {name: self._of(name).constants() for name in self.names}

    def forward(
        self, obs: Mapping[str, Tensor], constants: Mapping[str, Constants] | None = None
    ) -> dict[str, Tensor]:
        """Normalize {leaf: [*B, *O]}."""
        known = self.constants() if constants is None else constants
        return {
            name: self._of(name)(leaf.float(), known[name]) if name in known else leaf
            for name, leaf in obs.items()
        }

    def _of(self, name: str) -> LeafNormalizer:
        normalizer = self.leaves[self.names[name]]
        assert isinstance(normalizer, LeafNormalizer)
        return normalizer

    def merge(self, obs: Mapping[str, Tensor], rows: Tensor) -> None:
        """Take the observations {leaf: [T, N, *O]} at the rows [T, N] bool into the statistics."""
        for name in self.names:
            self._of(name).merge(obs[name][rows])
