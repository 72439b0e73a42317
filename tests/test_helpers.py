"""The Monte-Carlo helper accepts what is right and refuses what is wrong, scarce or noisy."""

import numpy as np
import pytest

from tests.helpers import assert_mean, assert_mean_rejects, assert_mean_summary, assert_mean_summary_rejects


@pytest.fixture
def samples():
    """20,000 replicates of two quantities with means 2 and 5 and standard deviation 1."""
    return np.array([2.0, 5.0]) + np.random.default_rng(0).standard_normal((20_000, 2))


def test_accepts_the_truth_and_refuses_ten_percent_off(samples, capsys):
    assert_mean(samples, [2.0, 5.0])
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("replicates 20000", "SEM at most", "|z|"))
    with pytest.raises(AssertionError, match=r"standard errors from 5\.5"):
        assert_mean(samples, [2.0, 5.5])
    assert_mean_rejects(samples, [2.0, 5.5])


def test_one_wrong_entry_among_many_is_enough():
    draws = 1 + 0.1 * np.random.default_rng(1).standard_normal((2000, 50))
    expected = np.ones(50)
    assert_mean(draws, expected)
    expected[17] = 1.1
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(draws, expected)


def test_refuses_too_few_replicates(samples):
    with pytest.raises(AssertionError, match="only 999 replicates"):
        assert_mean(samples[:999], [2.0, 5.0])
    with pytest.raises(AssertionError, match="only 1 replicates"):
        assert_mean(samples[:1], [2.0, 5.0])


def test_expected_zero_needs_a_scale(samples):
    centred = samples - [2.0, 5.0]
    with pytest.raises(AssertionError, match="state the `scale`"):
        assert_mean(centred, 0.0)
    assert_mean(centred, 0.0, scale=1.0)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(centred, 0.1, scale=1.0)


def test_refuses_nan(samples):
    samples[3, 1] = np.nan
    with pytest.raises(AssertionError, match="not finite"):
        assert_mean(samples, [2.0, 5.0])


def test_a_constant_must_be_right_to_rounding():
    assert_mean(np.full(1000, 0.3), 0.3)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(np.full(1000, 0.3), 0.3001)


def test_summary_form():
    assert_mean_summary(1.01, 0.004, 5000, 1.0)
    assert_mean_summary_rejects(1.01, 0.004, 5000, 1.1)
    with pytest.raises(AssertionError, match="cannot tell"):
        assert_mean_summary_rejects(1.05, 0.02, 5000, 1.1)


def test_noise_satisfies_neither_a_check_nor_its_twin(samples):
    noisy = 2.0 + 10 * (samples - [2.0, 5.0])  # a SEM of 3.5% of the mean
    with pytest.raises(AssertionError, match="too noisy"):
        assert_mean(noisy, 2.0)
    with pytest.raises(AssertionError, match="refused for another reason"):
        assert_mean_rejects(noisy, 2.2)
    with pytest.raises(AssertionError, match="cannot tell"):
        assert_mean_rejects(samples, [2.0, 5.0])
