import pytest
import torch

from distpg.learner.means import Means


def test_means_of_nothing_are_nothing() -> None:
    assert Means(["loss"]).read() == {}


def test_a_mean_counts_each_minibatch_by_its_size() -> None:
    # (3 * 1 + 1 * 5) / 4 = 2
    means = Means(["loss"])
    means.add(torch.tensor([1.0]), 3)
    means.add(torch.tensor([5.0]), 1)
    assert means.read() == {"loss": 2}


def test_each_name_has_a_mean_of_its_own() -> None:
    means = Means(["loss", "entropy"])
    means.add(torch.tensor([1.0, -4.0]), 2)
    means.add(torch.tensor([3.0, -8.0]), 2)
    assert means.read() == {"loss": 2, "entropy": -6}


def test_reading_does_not_end_the_count() -> None:
    means = Means(["loss"])
    means.add(torch.tensor([1.0]), 1)
    assert means.read() == {"loss": 1}
    means.add(torch.tensor([2.0]), 1)
    assert means.read() == {"loss": 1.5}


def test_the_terms_given_are_not_changed() -> None:
    means, loss = Means(["loss"]), torch.tensor([1.0])
    means.add(loss, 7)
    means.add(loss, 7)
    assert float(loss) == 1


def test_the_mean_of_the_parts_is_the_mean_of_the_whole() -> None:
    numbers = torch.randn(103, generator=torch.Generator().manual_seed(0))
    means = Means(["x"])
    for part in numbers.split(10):
        means.add(part.mean().view(1), len(part))
    assert means.read()["x"] == pytest.approx(float(numbers.mean()), abs=1e-6)
