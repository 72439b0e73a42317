"""The Monte-Carlo helper accepts what is right and refuses what is wrong, scarce or noisy."""

import numpy as np
import pytest

from tests.helpers import assert_mean, assert_mean_rejects, assert_mean_summary, assert_mean_summary_rejects

MEANS = np.array([2.0, 5.0])
DRAWS = MEANS + np.random.default_rng(0).standard_normal((20_000, 2))
"""20,000 replicates of two quantities with standard deviation 1."""
NOISY = 2.0 + 10 * (DRAWS - MEANS)
"""The SEM is 3.5% of the mean."""
MANY = 1 + 0.1 * np.random.default_rng(1).standard_normal((2000, 50))
CONSTANT = np.full(1000, 0.3)


def test_accepts_the_truth_many_entries_zeros_on_a_scale_and_constants(capsys):
    assert_mean(DRAWS, MEANS)
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("replicates 20000", "SEM at most", "|z|"))
    assert_mean(MANY, np.ones(50))
    assert_mean(DRAWS - MEANS, 0.0, scale=1.0)
    assert_mean(CONSTANT, 0.3)
    assert_mean_summary(1.01, 0.004, 5000, 1.0)


@pytest.mark.parametrize(
    ("samples", "expected", "scale", "message"),
    [
        pytest.param(DRAWS, [2.0, 5.5], None, r"standard errors from 5\.5", id="ten percent off"),
        pytest.param(MANY, 1 + 0.1 * (np.arange(50) == 17), None, "standard errors", id="one wrong entry among many"),
        pytest.param(DRAWS[:999], MEANS, None, "only 999 replicates", id="too few replicates"),
        pytest.param(DRAWS[:1], MEANS, None, "only 1 replicates", id="one replicate"),
        pytest.param(DRAWS - MEANS, 0.0, None, "state the `scale`", id="zero without a scale"),
        pytest.param(DRAWS - MEANS, 0.1, 1.0, "standard errors", id="wrong on a scale"),
        pytest.param(np.insert(DRAWS, 3, [0, np.nan], axis=0), MEANS, None, "not finite", id="nan"),
        pytest.param(CONSTANT, 0.3001, None, "standard errors", id="a constant that is not right to rounding"),
        pytest.param(NOISY, 2.0, None, "too noisy", id="noise"),
    ],
)
def test_what_is_wrong_scarce_or_noisy_is_refused(samples, expected, scale, message):
    with pytest.raises(AssertionError, match=message):
        assert_mean(samples, expected, scale)


def test_neither_noise_nor_the_truth_satisfies_a_twin():
    assert_mean_rejects(DRAWS, [2.0, 5.5])
    assert_mean_summary_rejects(1.01, 0.004, 5000, 1.1)
    with pytest.raises(AssertionError, match="refused for another reason"):
        assert_mean_rejects(NOISY, 2.2)
    with pytest.raises(AssertionError, match="cannot tell"):
        assert_mean_rejects(DRAWS, MEANS)
    with pytest.raises(AssertionError, match="cannot tell"):
        assert_mean_summary_rejects(1.05, 0.02, 5000, 1.1)
