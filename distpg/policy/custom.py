"""Choose the encoder: built in, or a user-defined class checked against the encoder contract."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from distpg.config.names import as_name
from distpg.config.values import Range, describe_mismatch
from distpg.errors import InputError, RunError, prefix_errors
from distpg.policy.architecture import Architecture
from distpg.policy.encoders import Encoder, ObsEncoder
from distpg.spaces import Leaf, ObsSpec
from distpg.user_code import format_user_error, import_object

NUM_TRIED = 3
"""Observations that a class is checked with."""
ROUNDING = 0.02
"""Allowed difference of features that are computed again, relative to the largest."""


def make_encoder(obs_spec: ObsSpec, parts: Architecture) -> Encoder:
    """Make the encoder that the settings ask for.

    Raises:
        InputError: a user-defined class cannot be imported or made, or is not an encoder.
    """
    if parts.encoder is None:
        return ObsEncoder(obs_spec, parts)
    with prefix_errors(f"--encoder {as_name(parts.encoder)}"):
        return CustomEncoder(obs_spec, parts)


def find(name: str) -> Callable[[ObsSpec, Architecture], nn.Module]:
    """Return the class that a name leads to, or the partial of a class.

    Raises:
        InputError: it does not exist, or is not a subclass of torch.nn.Module.
    """
    found: Any = import_object(name)
    kind = found.func if isinstance(found, partial) else found
    if not isinstance(kind, type) or not issubclass(kind, nn.Module):
        raise InputError("it is not a subclass of torch.nn.Module")
    return found


class CustomEncoder(Encoder):
    """A user-defined module, which is called with a single batch axis.

    It is checked when it is made, so that what it does wrong is reported before a run starts.
    """

    module: nn.Module

    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        """Make and check it.

        Raises:
            InputError: names what is wrong.
        """
        super().__init__()
        assert parts.encoder is not None, "there is one"
        self.name, self.leaves = as_name(parts.encoder), obs_spec.inputs
        make = find(self.name)
        try:
            self.module = make(ObsSpec(self.leaves), parts)
            count: Any = getattr(self.module, "num_features", None)
        except (Exception, SystemExit) as error:
            raise InputError(f"it cannot be made: {format_user_error(error)}") from error
        if describe_mismatch(count, Annotated[int, Range(1, 10**6)]):
            raise InputError(f"its num_features is {count!r}; set it to the number of its features")
        self.num_features = count
        try:
            self._check()
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise InputError(f"forward() failed: {format_user_error(error)}") from error

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """Encode normalized {leaf: [*B, *O]} as [*B, F].

        Raises:
            RunError: the module raised.
        """
        leaf = self.leaves[0]
        shape = obs[leaf.name].shape
        batch_shape = shape[: len(shape) - len(leaf.shape)]
        rows = {leaf.name: as_rows(obs[leaf.name], leaf) for leaf in self.leaves}
        if torch.compiler.is_compiling():
            features = self.module(rows)
        else:
            try:
                features = self.module(rows)
            except Exception as error:
                raise RunError(f"--encoder {self.name}: {format_user_error(error)}") from error
        return features.reshape(*batch_shape, self.num_features)

    def _check(self) -> None:
        """Encode some observations, and differentiate.

        Raises:
            InputError: the features have another shape, depend on other observations of the batch,
                or do not depend on a parameter.
        """
        generator = torch.Generator().manual_seed(0)
        obs = {leaf.name: drawn(leaf, generator) for leaf in self.leaves}
        features: object = self.module(obs)
        found, need = described(features), described(torch.zeros(NUM_TRIED, self.num_features))
        if not isinstance(features, Tensor) or found != need:
            raise InputError(f"it encodes {NUM_TRIED} observations as {found}; {need} is expected")
        each = [{name: leaf[[row]] for name, leaf in obs.items()} for row in range(NUM_TRIED)]
        alone = torch.cat([self.module(row) for row in each])
        if (features - alone).abs().max() > ROUNDING * features.abs().max():
            raise InputError(
                "an observation's features are not the same alone as in a batch; remove batch "
                "normalization, dropout, and what changes observations in place"
            )
        named = dict(self.module.named_parameters())
        for name, parameter in named.items():
            if not parameter.requires_grad:
                raise InputError(f"its {name} does not require gradients; make it a buffer")
        gradients = [None] * len(named)
        if named and features.requires_grad:
            gradients = torch.autograd.grad(features.sum(), [*named.values()], allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            # torch's annotations do not say that it may be None
            if gradient is None:  # pyright: ignore[reportUnnecessaryComparison]
                raise InputError(f"its features do not depend on its {name}; remove that")


def as_rows(values: Tensor, leaf: Leaf) -> Tensor:
    """Flatten the batch axes of [*B, *O]; convert vectors, which may be of any type, to floats."""
    rows = values.reshape(-1, *leaf.shape)
    return rows.to(torch.get_default_dtype()) if leaf.kind == "vector" else rows


def drawn(leaf: Leaf, generator: torch.Generator) -> Tensor:
    """Draw observations of a leaf, [R, *O]: categories, or 0 and 1, which most spaces hold."""
    shape = (NUM_TRIED, *leaf.shape)
    if leaf.kind == "categories":
        starts, sizes = (torch.tensor(x).view(leaf.shape) for x in (leaf.starts, leaf.sizes))
        return starts + (torch.rand(shape, generator=generator) * sizes).long()
    dtype = getattr(torch, leaf.dtype) if leaf.kind == "image" else torch.get_default_dtype()
    return torch.randint(2, shape, generator=generator).to(dtype)


def described(value: object) -> str:
    """Format a tensor's shape and type for a message."""
    if isinstance(value, Tensor):
        return f"{list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__
