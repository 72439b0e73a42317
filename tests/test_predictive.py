"""Distributions on bins: masses against SciPy's normal one, moments and divergences against plain sums, and draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import assert_mean, assert_mean_sharply
from tests.test_theory_population import refusals
from w2s_jax.predictive import (
    Bins,
    bin_index,
    interval_coverage,
    kl,
    law_mean,
    law_variance,
    make_bins,
    mixture_law,
    randomized_pit,
    sample_label,
    share_outside,
)

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")

RTOL = 1e-10
UNEVEN = Bins(jnp.array([-3.0, -1.0, -0.9, 0.2, 0.3, 2.0]))
MEANS = np.array([-1.5, 0.1, 2.2])
WEIGHTS = np.array([0.5, 0.2, 0.3])
ONLY_FIRST = np.array([1.0, 0.0, 0.0])
DRAWS = 40_000
mixture = jax.jit(mixture_law)


def law_of(bins, noise_var=0.25, means=MEANS, weights=WEIGHTS):
    with np.errstate(divide="ignore"):
        return mixture(jnp.asarray(means), jnp.asarray(np.log(weights)), noise_var, bins)


def binned_mixture(means, weights, noise_var, edges) -> np.ndarray:
    """Masses of a mixture of normals, one component at a time, the outer bins without end."""
    ends = np.array([-np.inf, *np.asarray(edges)[1:-1], np.inf])
    masses = np.zeros(ends.size - 1)
    for mean, weight in zip(means, weights):
        below, above = stats.norm.cdf(ends, mean, np.sqrt(noise_var)), stats.norm.sf(ends, mean, np.sqrt(noise_var))
        # In the upper tail `cdf` is 1 to all its digits.
        masses += weight * np.where(ends[:-1] > mean, above[:-1] - above[1:], below[1:] - below[:-1])
    return masses


def test_every_label_has_the_bin_that_holds_it():
    labels = np.random.default_rng(0).uniform(-4, 4, (5, 40))
    index = np.asarray(bin_index(UNEVEN, jnp.asarray(labels)))
    expected = np.clip(np.digitize(labels, UNEVEN.edges) - 1, 0, 4)
    np.testing.assert_array_equal(index, expected)
    assert set(index.ravel()) == set(range(5))
    np.testing.assert_allclose(make_bins(5.0, 64).centers, (np.arange(64) + 0.5) * 10 / 64 - 5, rtol=RTOL)
    assert float(share_outside(UNEVEN, jnp.array([[-3.1, -3.0, 0.0, 1.0], [2.0, 2.1, 7.0, -1.0]]))) == 3 / 8


test_what_is_out_of_range_is_refused = refusals(
    (lambda: make_bins(0.0, 8), "limit must be positive, got 0.0"),
    (lambda: make_bins(1.0, 1), "num_bins must be at least 2, got 1"),
    (lambda: mixture_law(jnp.zeros(1), jnp.zeros(1), 0.0, UNEVEN), "noise_var must be positive, got 0.0"),
)


@pytest.mark.parametrize("bins", [UNEVEN, make_bins(5.0, 64), make_bins(0.5, 2)], ids=lambda bins: bins.edges.size - 1)
def test_masses_of_a_mixture_equal_a_plain_loop(bins):
    for noise_var in (1e-4, 0.25, 4.0):
        for weights in (ONLY_FIRST, WEIGHTS):  # a component of weight zero does not count
            masses = np.exp(law_of(bins, noise_var, weights=weights))
            expected = binned_mixture(MEANS, weights, noise_var, bins.edges)
            np.testing.assert_allclose(masses, expected, rtol=1e-9, atol=1e-15)
            np.testing.assert_allclose(masses.sum(), 1.0, rtol=1e-12)
    assert np.abs(masses - binned_mixture(MEANS, WEIGHTS, 1.1 * noise_var, bins.edges)).max() > 1e-4


def test_tails_keep_their_digits():
    # 60 standard deviations out on either side: masses around e^-1800, far below the smallest float.
    bins = make_bins(40.0, 81)
    law, mirrored = (np.asarray(law_of(bins, 1.0, np.full(3, mean), ONLY_FIRST)) for mean in (-30.0, 30.0))
    distance = np.asarray(bins.edges[1:-1]) + 30
    low, high = distance[:-1], distance[1:]
    far = low > 5
    mass = stats.norm.logsf(low[far])
    expected = mass + np.log1p(-np.exp(stats.norm.logsf(high[far]) - mass))
    np.testing.assert_allclose(law[1:-1][far], expected, rtol=RTOL)
    np.testing.assert_allclose(mirrored[::-1], law, rtol=RTOL)
    assert expected.min() < -1800


def test_mean_and_variance_are_those_of_the_mixture_up_to_binning():
    bins, mean = make_bins(9.0, 400), WEIGHTS @ MEANS
    variance = 0.25 + WEIGHTS @ (MEANS - mean) ** 2 + (18 / 400) ** 2 / 12
    np.testing.assert_allclose(law_mean(law_of(bins), bins), mean, rtol=1e-8)
    np.testing.assert_allclose(law_variance(law_of(bins), bins), variance, rtol=1e-8)


def test_divergence_is_that_of_scipy_where_a_distribution_rules_bins_out_too():
    p, q = np.array([[0.0, 0.0, 0.7, 0.3], [0.1, 0.2, 0.3, 0.4]]), np.full((2, 4), 0.25)
    with np.errstate(divide="ignore"):
        log_p, log_q = jnp.asarray(np.log(p)), jnp.asarray(np.log(q))
    for one, other, expected in ((log_p, log_q, (p, q)), (log_q, log_p, (q, p)), (log_p, log_p, (p, p))):
        np.testing.assert_allclose(kl(one, other), stats.entropy(*expected, axis=1), rtol=RTOL)


def test_labels_are_drawn_by_their_distribution(key):
    bins = make_bins(5.0, 64)
    law = law_of(bins)
    labels = np.asarray(jax.jit(lambda law: sample_label(key, jnp.broadcast_to(law, (DRAWS, 64)), bins))(law))
    mean, variance = WEIGHTS @ MEANS, float(law_variance(law, bins)) + (10 / 64) ** 2 / 12
    assert_mean(labels, mean, scale=1.0)
    assert_mean_sharply((labels - mean) ** 2, variance)
    assert stats.kstest(labels, lambda y: sum(w * stats.norm.cdf(y, m, 0.5) for w, m in zip(WEIGHTS, MEANS)))[1] > 1e-3


def test_calibration_tells_the_right_noise_from_a_wrong_one(key):
    rng, bins, levels = np.random.default_rng(0), make_bins(3.0, 24), np.array([0.1, 0.5, 0.9])
    labels = jnp.asarray(rng.choice(MEANS, DRAWS, p=WEIGHTS) + 0.5 * rng.standard_normal(DRAWS))  # no bins
    transforms = jax.jit(lambda law: randomized_pit(key, jnp.broadcast_to(law, (DRAWS, 24)), labels, bins))
    right, wrong = (np.asarray(transforms(law_of(bins, noise_var))) for noise_var in (0.25, 0.5))
    assert stats.kstest(right, "uniform").pvalue > 1e-3
    assert stats.kstest(wrong, "uniform").pvalue < 1e-6
    inside = np.abs(right[:, None] - 0.5) <= levels / 2  # the central interval of each level
    found = [np.asarray(interval_coverage(jnp.asarray(pit), jnp.asarray(levels))) for pit in (right, wrong)]
    np.testing.assert_allclose(found[0], inside.mean(axis=0), rtol=RTOL)
    assert np.abs(found[1] - levels).max() > 0.03
    assert_mean(inside, levels[None], scale=1.0)
