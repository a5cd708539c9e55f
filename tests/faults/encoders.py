"""Encoders of vectors, each with one thing wrong that the name says."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distpg.policy.architecture import Architecture
from distpg.spaces import ObsSpec

NUMBER = 3


def function(obs_spec: ObsSpec, parts: Architecture) -> nn.Module:
    return Fine(obs_spec, parts)


class NoModule:
    num_features = 8


class Fine(nn.Module):
    """Nothing is."""

    num_features: Any = 8

    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 8)

    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        return self.dense(obs["obs"])


class RaisesWhenMade(nn.Module):
    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        raise RuntimeError("no weights to start from")


class ExitsWhenMade(nn.Module):
    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        raise SystemExit(7)


class ForgetsItsParent(nn.Module):
    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        self.dense = nn.Linear(4, 8)


class TakesNothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()


class NoCount(Fine):
    num_features = None


class CountOfNone(Fine):
    num_features = 0


class CountInWords(Fine):
    num_features = "eight"


class NoForward(nn.Module):
    num_features = 8

    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        super().__init__()


class Raises(Fine):
    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        return self.dense(obs["observation"])


class OfOtherInput(Fine):
    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        return self.dense(obs["obs"][:, :3])


class TooWide(Fine):
    num_features = 7


class Summed(Fine):
    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        return super().forward(obs).sum(1)


class ReturnsNothing(Fine):
    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        super().forward(obs)


class ReturnsPairs(Fine):
    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        return super().forward(obs), None


class Doubles(Fine):
    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        return super().forward(obs).double()


class DropsOut(Fine):
    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        return nn.functional.dropout(super().forward(obs))


class NormalizesTheBatch(Fine):
    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        super().__init__(obs_spec, parts)
        self.normalize = nn.BatchNorm1d(8)

    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        return self.normalize(super().forward(obs))


class LooksAround(Fine):
    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        features = super().forward(obs)
        return features - features.mean(0) + 1


class ChangesWhatItSees(Fine):
    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        obs["obs"].add_(1)
        return super().forward(obs)


class Frozen(Fine):
    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        super().__init__(obs_spec, parts)
        self.dense.bias.requires_grad_(False)


class LeavesOut(Fine):
    def __init__(self, obs_spec: ObsSpec, parts: Architecture) -> None:
        super().__init__(obs_spec, parts)
        self.spare = nn.Linear(4, 8)


class Detached(Fine):
    def forward(self, obs: Mapping[str, Tensor]) -> Any:
        with torch.no_grad():
            return super().forward(obs)


WRONG: dict[str, list[str]] = {
    "NUMBER": ["not a subclass of torch.nn.Module"],
    "function": ["not a subclass of torch.nn.Module"],
    "NoModule": ["not a subclass of torch.nn.Module"],
    "NoModul": ["tests.faults.encoders has no NoModul", "did you mean NoModule"],
    "RaisesWhenMade": ["cannot be made", "no weights to start from", "encoders.py, line"],
    "ExitsWhenMade": ["cannot be made", "SystemExit: 7"],
    "ForgetsItsParent": ["cannot be made", "before Module.__init__() call", "encoders.py, line"],
    "TakesNothing": ["cannot be made", "TypeError", "positional argument"],
    "NoCount": ["num_features is None", "number of its features"],
    "CountOfNone": ["num_features is 0"],
    "CountInWords": ["num_features is 'eight'"],
    "NoForward": ["forward() failed", "NotImplementedError"],
    "Raises": ["forward() failed", "KeyError: 'observation'", "encoders.py, line"],
    "OfOtherInput": ["forward() failed", "RuntimeError", "encoders.py, line"],
    "TooWide": ["[3, 8] of float32; [3, 7] of float32 is expected"],
    "Summed": ["[3] of float32; [3, 8] of float32 is expected"],
    "ReturnsNothing": ["as NoneType; [3, 8]"],
    "ReturnsPairs": ["as tuple; [3, 8]"],
    "Doubles": ["[3, 8] of float64; [3, 8] of float32 is expected"],
    "DropsOut": ["not the same alone as in a batch", "dropout"],
    "NormalizesTheBatch": ["forward() failed", "more than 1 value", "encoders.py, line"],
    "LooksAround": ["not the same alone as in a batch"],
    "ChangesWhatItSees": ["in place"],
    "Frozen": ["dense.bias does not require gradients"],
    "LeavesOut": ["do not depend on its spare.weight"],
    "Detached": ["do not depend on its dense.weight"],
}
"""What is said of each."""
