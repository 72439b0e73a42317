"""Laws on bins: masses against SciPy's normal law, moments and divergences against plain sums, draws against laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import assert_mean, assert_mean_rejects
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

RTOL = 1e-10
UNEVEN = Bins(jnp.array([-3.0, -1.0, -0.9, 0.2, 0.3, 2.0]))
MEANS = np.array([-1.5, 0.1, 2.2])
WEIGHTS = np.array([0.5, 0.2, 0.3])
DRAWS = 40_000
law_of = jax.jit(mixture_law)


def binned_mixture(means, weights, noise_var, edges) -> np.ndarray:
    """Masses of a mixture of normals, one component at a time, the outer bins without end."""
    ends = np.array([-np.inf, *np.asarray(edges)[1:-1], np.inf])
    masses = np.zeros(ends.size - 1)
    for mean, weight in zip(means, weights):
        below, above = stats.norm.cdf(ends, mean, np.sqrt(noise_var)), stats.norm.sf(ends, mean, np.sqrt(noise_var))
        # In the upper tail `cdf` is 1 to all its digits.
        masses += weight * np.where(ends[:-1] > mean, above[:-1] - above[1:], below[1:] - below[:-1])
    return masses


# --- bins -----------------------------------------------------------------------------------------------------------


def test_every_label_has_the_bin_that_holds_it():
    labels = np.random.default_rng(0).uniform(-4, 4, (5, 40))
    index = np.asarray(bin_index(UNEVEN, jnp.asarray(labels)))
    expected = np.clip(np.digitize(labels, UNEVEN.edges) - 1, 0, 4)
    np.testing.assert_array_equal(index, expected)
    assert set(index.ravel()) == set(range(5))
    np.testing.assert_array_equal(bin_index(UNEVEN, UNEVEN.centers), np.arange(5))
    np.testing.assert_allclose(make_bins(5.0, 64).centers, (np.arange(64) + 0.5) * 10 / 64 - 5, rtol=RTOL)


def test_the_share_outside_is_the_share_of_labels_that_no_bin_holds():
    labels = jnp.array([[-3.1, -3.0, 0.0, 1.0], [2.0, 2.1, 7.0, -1.0]])
    assert float(share_outside(UNEVEN, labels)) == 3 / 8
    drawn = jax.random.normal(jax.random.key(0), (1000, DRAWS // 1000))
    shares = jax.vmap(lambda labels: share_outside(make_bins(1.0, 8), labels))(drawn)
    assert_mean(shares, 2 * stats.norm.sf(1.0))
    assert_mean_rejects(shares, 1.1 * 2 * stats.norm.sf(1.0))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: make_bins(0.0, 8), "limit must be positive, got 0.0"),
        (lambda: make_bins(1.0, 1), "num_bins must be at least 2, got 1"),
        (lambda: mixture_law(jnp.zeros(1), jnp.zeros(1), 0.0, UNEVEN), "noise_var must be positive, got 0.0"),
    ],
)
def test_bad_input_is_told_in_one_sentence(call, said):
    with pytest.raises(ValueError, match=said):
        call()


# --- laws -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bins", [UNEVEN, make_bins(5.0, 64), make_bins(0.5, 2)], ids=lambda bins: bins.edges.size - 1)
def test_masses_of_a_mixture_equal_a_plain_loop(bins):
    for noise_var in (1e-4, 0.25, 4.0):
        masses = np.exp(law_of(jnp.asarray(MEANS), jnp.log(WEIGHTS), noise_var, bins))
        np.testing.assert_allclose(masses, binned_mixture(MEANS, WEIGHTS, noise_var, bins.edges), rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(masses.sum(), 1.0, rtol=1e-12)
    assert np.abs(masses - binned_mixture(MEANS, WEIGHTS, 1.1 * noise_var, bins.edges)).max() > 1e-4


def test_tails_keep_their_digits():
    # 60 standard deviations out on either side: masses around e^-1800, far below the smallest float.
    bins = make_bins(40.0, 81)
    law = mixture_law(jnp.array([-30.0]), jnp.zeros(1), 1.0, bins)
    distance = np.asarray(bins.edges[1:-1]) + 30
    low, high = distance[:-1], distance[1:]
    far = low > 5
    mass = stats.norm.logsf(low[far])
    expected = mass + np.log1p(-np.exp(stats.norm.logsf(high[far]) - mass))
    np.testing.assert_allclose(np.asarray(law)[1:-1][far], expected, rtol=RTOL)
    mirrored = mixture_law(jnp.array([30.0]), jnp.zeros(1), 1.0, bins)
    np.testing.assert_allclose(mirrored[::-1], law, rtol=RTOL)
    assert expected.min() < -1800


def test_a_component_of_weight_zero_does_not_count():
    both = mixture_law(jnp.array([0.3, 9.0]), jnp.array([0.0, -jnp.inf]), 0.25, UNEVEN)
    np.testing.assert_allclose(both, mixture_law(jnp.array([0.3]), jnp.zeros(1), 0.25, UNEVEN), rtol=RTOL)


def test_mean_and_variance_are_those_of_the_mixture_up_to_binning():
    bins = make_bins(9.0, 400)
    law = law_of(jnp.asarray(MEANS), jnp.log(WEIGHTS), 0.25, bins)
    mean = WEIGHTS @ MEANS
    variance = 0.25 + WEIGHTS @ (MEANS - mean) ** 2
    width = 18 / 400
    np.testing.assert_allclose(law_mean(law, bins), mean, rtol=1e-8)
    np.testing.assert_allclose(law_variance(law, bins), variance + width**2 / 12, rtol=1e-8)
    masses = np.exp(np.asarray(law))
    np.testing.assert_allclose(law_variance(law, bins), np.cov(bins.centers, aweights=masses, ddof=0), rtol=RTOL)
    stacked = jnp.stack([law, law[::-1]])
    np.testing.assert_allclose(law_mean(stacked, bins), [mean, -mean], rtol=1e-8)
    np.testing.assert_allclose(law_variance(stacked, bins), [float(law_variance(law, bins))] * 2, rtol=1e-8)


def test_divergence_is_zero_between_equal_laws_and_else_positive():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(6), (2, 50))
    p[0, :2] = 0.0
    p /= p.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        log_p, log_q = jnp.log(p), jnp.log(q)
    np.testing.assert_array_equal(kl(log_p, log_p), 0.0)
    np.testing.assert_allclose(kl(log_p, log_q), stats.entropy(p, q, axis=1), rtol=RTOL)
    assert np.all(np.asarray(kl(log_p, log_q)) > 0)
    assert float(kl(log_q, log_p)[0]) == np.inf  # q rules in what p rules out


# --- draws and calibration ------------------------------------------------------------------------------------------


def drawn_labels(key, noise_var=0.25):
    """Labels of a mixture, drawn as they come: no bins."""
    concept = jax.random.choice(jax.random.fold_in(key, 0), jnp.asarray(MEANS), (DRAWS,), p=jnp.asarray(WEIGHTS))
    return concept + np.sqrt(noise_var) * jax.random.normal(jax.random.fold_in(key, 1), (DRAWS,))


def test_labels_are_drawn_by_the_law(key):
    bins = make_bins(5.0, 64)
    law = law_of(jnp.asarray(MEANS), jnp.log(WEIGHTS), 0.25, bins)
    labels = np.asarray(sample_label(key, jnp.broadcast_to(law, (DRAWS, 64)), bins))
    mean, width = float(law_mean(law, bins)), 10 / 64
    assert_mean(labels, mean, scale=1.0)
    assert_mean((labels - mean) ** 2, float(law_variance(law, bins)) + width**2 / 12)
    assert_mean_rejects((labels - mean) ** 2, 1.1 * float(law_variance(law, bins)))
    assert stats.kstest(labels, lambda y: sum(w * stats.norm.cdf(y, m, 0.5) for w, m in zip(WEIGHTS, MEANS)))[1] > 1e-3


def test_calibration_tells_the_right_noise_from_a_wrong_one(key):
    labels = drawn_labels(key)
    levels = jnp.array([0.1, 0.5, 0.9])

    def transforms(noise_var):
        law = law_of(jnp.asarray(MEANS), jnp.log(WEIGHTS), noise_var, make_bins(3.0, 24))
        return randomized_pit(key, jnp.broadcast_to(law, (DRAWS, 24)), labels, make_bins(3.0, 24))

    right, wrong = transforms(0.25), transforms(0.5)
    assert stats.kstest(right, "uniform").pvalue > 1e-3
    assert stats.kstest(wrong, "uniform").pvalue < 1e-6
    inside = jax.vmap(lambda pit: interval_coverage(pit[None], levels))(right)
    assert_mean(inside, levels[None], scale=1.0)
    np.testing.assert_allclose(interval_coverage(right, levels), inside.mean(axis=0), rtol=RTOL)
    assert np.abs(np.asarray(interval_coverage(wrong, levels)) - levels).max() > 0.03
