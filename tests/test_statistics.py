"""Merging is exact in any partition; intervals cover as often as they say, and the tests would notice if not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.helpers import assert_mean, assert_mean_rejects
from tests.test_theory_population import refusals
from w2s_jax.statistics import (
    Summary,
    confidence_interval,
    covariance,
    effective_count,
    merge,
    merge_all,
    paired_difference,
    pgr_interval,
    rare_interval,
    sem,
    summarize,
)

NUM_TRIALS = 20_000


def draws(seed, *shape):
    """Positive, skewed, correlated samples far from 0: what risks look like, and hard on cancellation."""
    rng = np.random.default_rng(seed)
    return 50 + rng.gamma(2, size=(*shape[:-1], 1)) + rng.gamma(2, size=shape)


def assert_same(a, b, rtol=1e-12):
    np.testing.assert_array_equal(a.count, b.count)
    np.testing.assert_allclose(a.mean, b.mean, rtol=rtol)
    np.testing.assert_allclose(a.comoment, b.comoment, rtol=rtol, atol=rtol * np.max(np.abs(b.comoment)))


# Means and covariances


def test_a_summary_says_what_numpy_and_scipy_say():
    x = draws(0, 9, 2, 4)
    summary = summarize(x)
    assert summary.count == 9
    np.testing.assert_allclose(summary.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(covariance(summary), [np.cov(x[:, cell].T) for cell in range(2)], rtol=1e-10)
    np.testing.assert_allclose(sem(summary), stats.sem(x), rtol=1e-10)
    low, high = confidence_interval(summary.mean, sem(summary), summary.count, level=0.9)
    expected = stats.t.interval(0.9, 8, loc=x.mean(0), scale=stats.sem(x))
    np.testing.assert_allclose((low, high), expected, rtol=1e-10)
    difference, error = paired_difference(summary, 2, 0)
    np.testing.assert_allclose(difference / error, stats.ttest_rel(x[..., 2], x[..., 0]).statistic, rtol=1e-10)


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=6), seed=st.integers(0, 99), data=st.data())
def test_merging_is_commutative_and_associative(sizes, seed, data):
    x = draws(seed, sum(sizes), 2)
    parts = [summarize(part) for part in np.split(x, np.cumsum(sizes)[:-1])]
    whole = summarize(x)
    assert_same(merge_all(parts), whole)
    while len(parts) > 1:  # any binary tree over any order of the parts
        i = data.draw(st.integers(0, len(parts) - 1))
        first = parts.pop(i)
        j = data.draw(st.integers(0, len(parts) - 1))
        parts.append(merge(first, parts.pop(j)))
    assert_same(parts[0], whole)


def test_an_empty_summary_changes_nothing_and_counts_may_differ_from_cell_to_cell():
    one, other, empty = (
        summarize(draws(3, 12, 3)),
        summarize(draws(4, 20, 3)),
        Summary(0.0, np.zeros(3), np.zeros((3, 3))),
    )
    pairs = [(one, other), (one, empty), (empty, one), (empty, empty)]
    merged = merge(*(Summary(*map(np.stack, zip(*side))) for side in zip(*pairs)))
    for i, expected in enumerate([merge(one, other), one, one, empty]):
        assert_same(Summary(*(field[i] for field in merged)), expected, rtol=0)


def test_mean_far_from_zero_keeps_its_digits():
    x = 1e8 + np.random.default_rng(5).standard_normal((400, 2))
    merged = merge_all(summarize(part) for part in np.split(x, 40))
    np.testing.assert_allclose(covariance(merged), np.cov(x.T), rtol=1e-6)
    naive = (x.T @ x - 400 * np.outer(x.mean(0), x.mean(0))) / 399  # the textbook shortcut has no digit left
    assert not np.allclose(naive, np.cov(x.T), rtol=1e-1)


def test_numpy_sums_are_double_whatever_comes_in_and_jax_is_traced_in_its_own():
    x = draws(6, 30, 4, 3)
    merged = merge(summarize(x[:10].astype(np.float32)), summarize(x[10:].astype(np.float32)))
    assert isinstance(merged.mean, np.ndarray) and merged.comoment.dtype == np.float64

    @jax.jit
    def program(x):
        merged = merge(summarize(x[:10]), summarize(x[10:]))
        return merged, sem(merged), paired_difference(merged, 0, 2)

    assert {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(program, x.astype(np.float32)))} == {
        np.dtype(np.float32)
    }
    merged, error, difference = program(jnp.asarray(x))
    assert_same(merged, summarize(x))
    np.testing.assert_allclose(error, stats.sem(x), rtol=1e-10)
    np.testing.assert_allclose(difference[1], stats.sem(x[..., 0] - x[..., 2]), rtol=1e-10)


def test_one_sample_has_no_covariance():
    summary = summarize(draws(8, 1, 3))
    assert np.all(np.isnan(covariance(summary)))
    assert np.all(np.isnan(sem(summary)))
    assert np.all(np.isnan(confidence_interval(summary.mean, np.zeros(3), summary.count)))


test_bad_arguments_are_named = refusals(
    (lambda: merge_all([]), "at least one summary"),
    (lambda: confidence_interval(0.0, 1.0, 10, 95.0), "level must be between 0 and 1"),
    (lambda: rare_interval(0.0, 0.0, 10, 0.0, largest=0.0), "largest must be positive"),
)


# Fieller's interval for the performance gap recovered


def pgr_of(x):
    return (x[0] - x[1]) / (x[0] - x[2])


def covered(x, truth, level=0.95, shared=1.0):
    """Whether the interval of each experiment holds the true value; `shared` masks what covariances it is given."""
    summary = summarize(x)
    _, low, high = pgr_interval(summary.mean, covariance(summary) * shared, len(x), level)
    return (low <= pgr_of(truth)) & (pgr_of(truth) <= high)


def test_pgr_interval_solves_the_equation_of_fieller():
    summary = summarize(draws(13, 40, 5, 3) - np.array([0.0, 8.0, 20.0]))
    cov = covariance(summary)
    estimate, low, high = pgr_interval(summary.mean, cov, 40, 0.9)
    np.testing.assert_allclose(estimate, pgr_of(np.moveaxis(summary.mean, -1, 0)), rtol=1e-12)
    for end in (low, high):  # at an end, N - r D is exactly t standard errors from 0
        contrast = np.stack([1 - end, -np.ones(5), end], -1)
        size = (contrast * summary.mean).sum(-1)
        error = np.sqrt(np.einsum("...i,...ij,...j->...", contrast, cov, contrast) / 40)
        np.testing.assert_allclose(np.abs(size) / error, stats.t.ppf(0.95, 39), rtol=1e-8)
    assert np.all((low < estimate) & (estimate < high))


def test_pgr_interval_covers_at_small_counts():
    truth, factor = np.array([1.0, 0.4, 0.1]), np.array([[0.3, 0.0, 0.0], [0.25, 0.1, 0.0], [0.1, 0.05, 0.1]])
    x = truth + np.random.default_rng(14).standard_normal((8, NUM_TRIALS, 3)) @ factor.T
    assert_mean(covered(x, truth), 0.95)
    assert_mean_rejects(covered(x, truth, shared=np.eye(3)), 0.95)  # the three risks were observed together
    assert_mean_rejects(covered(x, truth, level=0.93), 0.95)


def test_pgr_interval_covers_for_skewed_risks():
    rng = np.random.default_rng(15)
    truth = np.array([1.0, 0.7, 0.2])
    noise = rng.chisquare(3, size=(200, 4000, 3)) / 3
    shared = rng.chisquare(3, size=(200, 4000, 1)) / 3
    x = truth * (0.5 * noise + 0.5 * shared)
    assert_mean(covered(x, truth), 0.95)
    assert_mean_rejects(covered(x, truth, level=0.90), 0.95)


def test_pgr_interval_at_its_edges():
    """A point for constants, NaN without a gap, and infinite where the gap is not significant."""
    mean = np.array([[0.3, 0.2, 0.1], [0.7, 1 / 3, 1e-3]])
    estimate, *ends = pgr_interval(mean, np.zeros((2, 3, 3)), 100)
    np.testing.assert_allclose(ends, [estimate, estimate], rtol=1e-14)
    mean = np.array([[0.0, 0.2, 0.1], [0.1, 0.2, 0.1], [0.5, 0.2, 0.1], [0.5, 0.2, 0.49]])
    cov = 0.01 * np.eye(3)
    estimate, low, high = pgr_interval(mean, np.broadcast_to(cov, (4, 3, 3)), 100)
    assert np.isnan([estimate[:2], low[:2], high[:2]]).all()
    assert np.isfinite([estimate[2], low[2], high[2]]).all()
    assert np.isfinite(estimate[3])
    assert (low[3], high[3]) == (-np.inf, np.inf)
    assert np.isnan(pgr_interval(mean, np.broadcast_to(cov, (4, 3, 3)), 1)[1:]).all()


def test_pgr_interval_stays_honest_where_the_gap_is_barely_visible():
    """The gap is 2.2 standard errors: many intervals are infinite, and the others must not be too short."""
    truth = np.array([0.5, 0.2, 0.1])
    x = truth + np.random.default_rng(17).standard_normal((20, NUM_TRIALS, 3)) * 0.4 / 2.2 * np.sqrt(20 / 2)
    summary = summarize(x)
    estimate, low, _ = pgr_interval(summary.mean, covariance(summary), 20)
    known = ~np.isnan(estimate)
    assert 0.9 < known.mean() < 1
    assert 0.2 < np.isinf(low[known]).mean() < 0.8
    assert covered(x, truth)[known].mean() > 0.95 - 5 * np.sqrt(0.95 * 0.05 / known.sum())


@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float64, 1e-10), (jnp.float32, 1e-4)])
def test_pgr_interval_on_jax_arrays_matches_numpy(dtype, rtol):
    summary = summarize(draws(18, 40, 5, 3) - np.array([0.0, 8.0, 20.0]))
    cov = covariance(summary)
    given = jnp.asarray(summary.mean, dtype), jnp.asarray(cov, dtype)
    found = jax.jit(lambda mean, cov: pgr_interval(mean, cov, 40))(*given)
    assert found[0].dtype == dtype
    np.testing.assert_allclose(found, pgr_interval(summary.mean, cov, 40), rtol=rtol)


# Rare events


def rare_means(chance, size, largest=2.0):
    """Mean, SEM and effective count of 400 samples of x in [0, 2] that is seldom not 0, in many trials."""
    rng = np.random.default_rng(5)
    hits = rng.binomial(400, chance, size)
    # All that matters of uniform sizes of the hits, drawn at once.
    sizes = rng.uniform(0, largest, (size, hits.max() + 1)) * (np.arange(hits.max() + 1)[None] < hits[:, None])
    mean = sizes.sum(1) / 400
    variance = (np.square(sizes).sum(1) - 400 * mean**2) / 399
    return mean, np.sqrt(variance / 400), effective_count(mean, variance, 400)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_effective_count_is_that_of_the_samples(array):
    x = np.stack([np.arange(5.0), np.ones(5), np.eye(5)[2], np.zeros(5)], 1)
    wanted = [*(x.sum(0) ** 2 / np.maximum(np.square(x).sum(0), 1e-9))[:3], 0.0]
    np.testing.assert_allclose(effective_count(array(x.mean(0)), array(x.var(0, ddof=1)), 5), wanted, rtol=1e-12)


@pytest.mark.parametrize("chance", [1e-4, 0.01])
def test_the_interval_of_a_rare_mean_covers_and_students_does_not(chance):
    mean, error, effective = rare_means(chance, NUM_TRIALS)
    low, high = rare_interval(mean, error, 400, effective, largest=2.0)
    truth = chance  # hits have mean 1
    assert np.mean(effective < 30) > 0.99
    assert np.mean((low <= truth) & (truth <= high)) > 0.95
    low, high = confidence_interval(mean, error, 400)
    assert np.mean((low <= truth) & (truth <= high)) < 0.93
    wider = rare_interval(mean, error, 400, effective, largest=2.0, level=0.99)[1]
    assert (wider >= rare_interval(mean, error, 400, effective, largest=2.0)[1]).all()


def test_a_rare_interval_is_students_where_enough_carry_it_and_no_bound_where_none_is_known():
    students = confidence_interval(np.ones(3), np.full(3, 0.1), 400)
    low, high = rare_interval(np.ones(3), np.full(3, 0.1), 400, np.array([30.0, np.nan, 29.9]))
    np.testing.assert_array_equal([low[:2], high[:2]], [end[:2] for end in students])
    assert (low[2], high[2]) == (0.0, np.inf)


def test_the_bound_of_hits_is_close_above_that_of_clopper_and_pearson():
    hits = np.arange(10)
    ours = rare_interval(hits / 500, np.zeros(10), 500, np.minimum(hits, 29.0), largest=1.0)[1]
    exact = stats.beta.ppf(0.95, hits + 1, 500 - hits)
    assert (ours >= exact * (1 - 1e-9)).all() and (ours <= 1.35 * exact).all()
    np.testing.assert_allclose(ours[0], exact[0], rtol=1e-9)
