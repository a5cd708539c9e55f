"""The examples run, and end where they say."""

import numpy as np
import pytest

from examples import q_learning


def test_q_learning_reaches_the_exact_optimum(capsys: pytest.CaptureFixture[str]) -> None:
    q_learning.main()
    assert float(capsys.readouterr().out.split()[-1]) < 0.05
    assert q_learning.exact()[list(q_learning.NODES)].argmax(1).tolist() == [0, 1, 1]


def test_q_learning_is_a_function_of_its_seed() -> None:
    once, again = (q_learning.learn(num_episodes=200, seed=1) for _ in range(2))
    np.testing.assert_array_equal(once, again)
