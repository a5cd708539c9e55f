"""Observation statistics: part of the policy, frozen in rollouts, updated after each update."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distpg.policy.moments import Moments
from distpg.spaces import Leaf

Constants = tuple[Tensor, Tensor]


class LeafNormalizer(nn.Module):
    """Running mean and variance of one vector leaf."""

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, shape: tuple[int, ...], clip: float = 10.0) -> None:
        """Start from no data, which leaves observations unchanged, but for the clip."""
        super().__init__()
        self.clip = clip
        for name, value in vars(Moments.of_nothing(shape)).items():
            self.register_buffer(name, value)

    def constants(self) -> Constants:
        """Return mean and scale in float32, valid until the next `merge`."""
        return self.mean.float(), (self.variance + 1e-8).rsqrt().float()

    def forward(self, obs: Tensor, constants: Constants | None = None) -> Tensor:
        """Standardize float32 [*B, *O] and clip it to [-clip, clip]."""
        mean, scale = constants or self.constants()
        return ((obs - mean) * scale).clamp(-self.clip, self.clip)

    @torch.no_grad()
    def merge(self, obs: Tensor) -> None:
        """Add [B, *O] observations to the statistics."""
        moments = Moments(self.count, self.mean, self.variance).merged(obs)
        for name, value in vars(moments).items():
            getattr(self, name).copy_(value)


class ObsNormalizer(nn.Module):
    """A normalizer for each vector leaf; other leaves, and all if disabled, pass through."""

    def __init__(self, leaves: tuple[Leaf, ...], *, enabled: bool, clip: float = 10.0) -> None:
        """Keep statistics of the leaves that are real vectors; clip them to [-clip, clip]."""
        super().__init__()
        scaled = [leaf for leaf in leaves if leaf.kind == "vector" and enabled]
        # module names must not contain dots or slashes, leaf names may
        self.names = {leaf.name: str(number) for number, leaf in enumerate(scaled)}
        self.leaves = nn.ModuleDict(
            {self.names[leaf.name]: LeafNormalizer(leaf.shape, clip) for leaf in scaled}
        )

    def constants(self) -> dict[str, Constants]:
        """Return each leaf's mean and scale, to be shared by many calls of `forward`."""
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
        """Add the observations {leaf: [T, N, *O]} at the rows [T, N] bool to the statistics."""
        for name in self.names:
            self._of(name).merge(obs[name][rows])
