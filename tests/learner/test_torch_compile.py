"""What torch.compile compiles: user-defined encoders, images, and whatever runs on a GPU."""

import numpy as np
import pytest
import torch

from distpg.errors import InputError
from distpg.learner.torch_compile import torch_compile
from tests.learner.runs import LONG, Run


def test_what_cannot_be_compiled_is_refused() -> None:
    def printed(values: torch.Tensor) -> torch.Tensor:
        return values * len(torch.nonzero(values).numpy().tobytes())

    with pytest.raises(InputError, match=r"--compile: torch cannot compile .*--encoder"):
        torch_compile(printed)(torch.ones(2))


@pytest.mark.thorough
def test_an_encoder_of_the_users_is_compiled_with_the_rest() -> None:
    run = Run(**LONG, encoder="tests.faults.encoders:Fine")
    quick = run.make_learner(compile="on")
    assert quick.compile({}) == {}
    rollouts = run.collect()
    quick.load(run.learner.state())
    weights, other = run.learner.update(rollouts)[0], quick.update(rollouts)[0]
    for name, array in weights.arrays.items():
        np.testing.assert_allclose(other.arrays[name], array, rtol=1e-4, atol=1e-5)


def test_without_a_compiler_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    with pytest.raises(InputError, match=r"--compile: on needs a C\+\+ compiler"):
        torch_compile(torch.sin)
