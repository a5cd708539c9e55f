from typing import Any

import numpy as np
import pytest
import torch

from distpg.errors import InputError
from distpg.learner.compiled import compiled
from tests.learner.runs import LONG, Run


@pytest.mark.thorough
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "settings",
    [
        {"clip_schedule": "linear", "ent_coef": 0.01, "ent_schedule": "linear"},
        {"env_id": "Pendulum-v1", "value_clip": 0.2, "target_kl": 1.0},
        {
            "env_id": "Pendulum-v1",
            "action_distribution": "beta",
            "surrogate": "kl_fixed",
            "ent_coef": 0.01,
        },
        {"algo": "trpo", "num_epochs": 1},
    ],
    ids=["discrete", "continuous", "beta", "trust region"],
)
def test_a_compiled_update_is_the_update_but_for_the_last_bits(settings: dict[str, Any]) -> None:
    run = Run(**{**LONG, **settings})
    quick = run.make_learner(compile=True)
    # sizes of batch and last minibatch change, and so do the coefficients
    for _ in range(4):
        rollouts = run.collect()
        quick.load(run.learner.state())
        weights, update = run.learner.update(rollouts)
        other, other_update = quick.update(rollouts)
        for name, array in weights.arrays.items():
            np.testing.assert_allclose(other.arrays[name], array, rtol=1e-4, atol=1e-5)
        stats, other_stats = update.scalars, other_update.scalars
        assert other_stats["train/loss"] == pytest.approx(stats["train/loss"], rel=1e-4, abs=1e-4)
        assert stats.keys() == other_stats.keys()


def test_what_cannot_be_compiled_is_refused() -> None:
    def printed(values: torch.Tensor) -> torch.Tensor:
        return values * len(torch.nonzero(values).numpy().tobytes())

    with pytest.raises(InputError, match=r"--compile: torch cannot compile .*--encoder"):
        compiled(printed)(torch.ones(2))


@pytest.mark.thorough
def test_an_encoder_of_the_users_is_compiled_with_the_rest() -> None:
    run = Run(**LONG, encoder="tests.faults.encoders:Fine")
    quick = run.make_learner(compile=True)
    rollouts = run.collect()
    quick.load(run.learner.state())
    weights, other = run.learner.update(rollouts)[0], quick.update(rollouts)[0]
    for name, array in weights.arrays.items():
        np.testing.assert_allclose(other.arrays[name], array, rtol=1e-4, atol=1e-5)


def test_without_a_compiler_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    with pytest.raises(InputError, match=r"--compile needs a C\+\+ compiler"):
        compiled(torch.sin)
