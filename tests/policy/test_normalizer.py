import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from distpg.policy.moments import Moments
from distpg.policy.normalizer import LeafNormalizer, ObsNormalizer
from distpg.spaces import Leaf

SPEED = Leaf("car/speed", ("car", "speed"), (3,), "float32", "vector")
HEAT = Leaf("heat", ("heat",), (), "float32", "vector")
SCREEN = Leaf("screen", ("screen",), (4, 4), "uint8", "image")
GEAR = Leaf("gear", ("gear",), (), "int64", "categories", (5,), (0,))


def draw(seed: int, *shape: int, loc: float = 0.0, scale: float = 1.0) -> Tensor:
    return loc + scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def buffers(normalizer: torch.nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in normalizer.named_buffers()}


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    seed=st.integers(0, 2**31),
    loc=st.sampled_from([0.0, 5.0, -1000.0]),
    scale=st.sampled_from([0.01, 1.0, 300.0]),
)
def test_merging_batches_gives_the_moments_of_all_of_them_together(
    sizes: list[int], seed: int, loc: float, scale: float
) -> None:
    batches = [
        draw(seed + number, size, 3, loc=loc * number, scale=scale)
        for number, size in enumerate(sizes)
    ]
    normalizer = LeafNormalizer((3,))
    for batch in batches:
        normalizer.merge(batch)
    everything = np.concatenate([batch.double().numpy() for batch in batches])
    assert float(normalizer.count) == sum(sizes)
    np.testing.assert_allclose(normalizer.mean.numpy(), everything.mean(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(normalizer.variance.numpy(), everything.var(0), rtol=1e-9, atol=1e-9)


def test_merging_by_hand() -> None:
    # 1 and 3: mean 2, variance 1; with 8: mean 4, variance (9 + 1 + 16) / 3
    normalizer = LeafNormalizer(())
    normalizer.merge(torch.tensor([1.0, 3.0]))
    assert (float(normalizer.mean), float(normalizer.variance)) == (2, 1)
    normalizer.merge(torch.tensor([8.0]))
    assert float(normalizer.count) == 3
    assert float(normalizer.mean) == pytest.approx(4)
    assert float(normalizer.variance) == pytest.approx(26 / 3)


def test_the_moments_of_a_distant_value_keep_their_precision() -> None:
    normalizer = LeafNormalizer(())
    for _ in range(20):
        normalizer.merge(torch.tensor([100_000.0, 100_001.0]))
    assert float(normalizer.variance) == pytest.approx(0.25)


def test_without_data_observations_stay_as_they_are() -> None:
    obs = draw(0, 5, 3)
    assert_close(LeafNormalizer((3,))(obs), obs)


def test_after_a_batch_that_batch_has_mean_0_and_standard_deviation_1() -> None:
    normalizer = LeafNormalizer((3,))
    obs = draw(0, 200, 3, loc=7, scale=4)
    normalizer.merge(obs)
    found = normalizer(obs)
    assert found.dtype == torch.float32
    assert_close(found.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    assert_close(found.std(0, correction=0), torch.ones(3))


def test_normalized_observations_are_cut_to_10() -> None:
    normalizer = LeafNormalizer((2,))
    normalizer.merge(draw(0, 100, 2))
    found = normalizer(torch.tensor([[1e6, -1e6]]))
    assert found.tolist() == [[10, -10]]


def test_the_cut_is_where_it_is_asked_for() -> None:
    # of 1 and 3 the mean is 2 and the deviation 1
    normalizer = ObsNormalizer((HEAT,), enabled=True, clip=1.5)
    normalizer.merge({"heat": torch.tensor([[1.0, 3.0]])}, torch.ones(1, 2, dtype=torch.bool))
    found = normalizer({"heat": torch.tensor([[2.0, 3.0, 4.0, -9.0]])})
    assert found["heat"].tolist() == [pytest.approx([0, 1, 1.5, -1.5])]


def test_a_feature_that_never_varies_stays_finite() -> None:
    normalizer = LeafNormalizer(())
    normalizer.merge(torch.full((9,), 3.0))
    assert normalizer(torch.tensor([3.0, 4.0])).tolist() == [0, 10]


def test_images_and_categories_pass_through_untouched() -> None:
    normalizer = ObsNormalizer((SPEED, SCREEN, GEAR), enabled=True)
    obs = {
        "car/speed": draw(0, 6, 1, 3, loc=9),
        "screen": torch.arange(96, dtype=torch.uint8).view(6, 1, 4, 4),
        "gear": torch.arange(6).view(6, 1) % 5,
    }
    normalizer.merge(obs, torch.ones(6, 1, dtype=torch.bool))
    found = normalizer(obs)
    assert found.keys() == obs.keys()
    assert found["screen"] is obs["screen"]
    assert found["gear"] is obs["gear"]
    assert_close(found["car/speed"].mean((0, 1)), torch.zeros(3), rtol=0, atol=1e-5)
    assert len(buffers(normalizer)) == 3


def test_a_normalizer_that_is_off_changes_nothing_and_keeps_nothing() -> None:
    normalizer = ObsNormalizer((SPEED, HEAT), enabled=False)
    obs = {"car/speed": draw(0, 4, 2, 3), "heat": draw(1, 4, 2)}
    normalizer.merge(obs, torch.ones(4, 2, dtype=torch.bool))
    found = normalizer(obs)
    assert all(torch.equal(found[name], obs[name]) for name in obs)
    assert not buffers(normalizer)


def test_only_the_rows_asked_for_enter_the_statistics() -> None:
    rows = torch.tensor([[True, False], [True, True], [False, True]])
    obs = {"car/speed": draw(0, 3, 2, 3), "heat": draw(1, 3, 2)}
    normalizer = ObsNormalizer((SPEED, HEAT), enabled=True)
    normalizer.merge(obs, rows)
    expected = ObsNormalizer((SPEED, HEAT), enabled=True)
    changed = {
        name: torch.where(rows.view(3, 2, *[1] * (leaf.ndim - 2)), leaf, 1e6)
        for name, leaf in obs.items()
    }
    expected.merge(changed, rows)
    assert_close(buffers(normalizer), buffers(expected), rtol=0, atol=0)
    counts = [float(b) for name, b in buffers(normalizer).items() if name.endswith("count")]
    assert counts == [4, 4]


def test_acting_moves_no_statistics() -> None:
    normalizer = ObsNormalizer((SPEED,), enabled=True)
    normalizer.merge({"car/speed": draw(0, 4, 2, 3)}, torch.ones(4, 2, dtype=torch.bool))
    before = buffers(normalizer)
    normalizer({"car/speed": draw(1, 100, 3, loc=50)})
    assert_close(buffers(normalizer), before, rtol=0, atol=0)


def test_no_more_values_change_no_moments() -> None:
    for before in (Moments.of_nothing((2,)), Moments.of_nothing((2,)).merged(torch.ones(3, 2))):
        assert before.merged(torch.zeros(0, 2)) is before
