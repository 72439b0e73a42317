"""Sorted labels: prefix sums and counts against plain NumPy, then the law of the moments against labels row by row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.helpers import assert_mean, assert_mean_rejects
from tests.oracles import moment_law, moment_vector
from tests.test_sampling import general_task, least_squares_risks, replicates
from w2s_jax.refinement import refine_labels
from w2s_jax.rng import stream
from w2s_jax.sampling import design_of, linear_labels, moments, sample_features
from w2s_jax.sorted_labels import arrival_times, prefix_table, refined_moments, shared_boundaries
from w2s_jax.types import Dataset

RTOL = 1e-10
TASK = general_task()._replace(feature_var=jnp.ones(4))
POSTERIOR = np.array([0.5, 0.2, 0.3])
LOG_POSTERIOR = jnp.log(jnp.asarray(POSTERIOR))
MAX_SAMPLES = 12


def drawn_rows(seed=0, num_samples=MAX_SAMPLES, dim=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_samples, dim)), rng.standard_normal(num_samples)


# --- identities -----------------------------------------------------------------------------------------------------


def test_the_table_holds_prefix_sums():
    features, _ = drawn_rows()
    concepts = np.asarray(TASK.concepts)
    table = prefix_table(jnp.asarray(features), TASK.concepts)
    assert table.shape == (MAX_SAMPLES + 1, 2, 4)
    for k in range(2):
        outer = features * (features @ (concepts[k] - concepts[k + 1]))[:, None]
        expected = np.concatenate([np.zeros((1, 4)), np.cumsum(outer, axis=0)])
        np.testing.assert_allclose(table[:, k], expected, rtol=RTOL, atol=1e-13)


@pytest.mark.parametrize("noise_var", [0.0, 0.7])
@pytest.mark.parametrize("num_samples", [3, MAX_SAMPLES])
@pytest.mark.parametrize("shares", [(0, 0), (0, 1), (1, 1), (0.3, 0.7), (0.5, 0.5), (0, 0.4)])
def test_refined_moments_are_those_of_explicit_labels(shares, num_samples, noise_var):
    # Rows up to the first boundary take concept 0, up to the second concept 1, the rest concept 2.
    features, noise = (x[:num_samples] for x in drawn_rows())
    boundaries = np.round(np.array(shares) * num_samples).astype(int)
    concept = np.searchsorted(boundaries, np.arange(num_samples), side="right")
    labels = (features * np.asarray(TASK.concepts)[concept]).sum(axis=1) + np.sqrt(noise_var) * noise
    expected = (features.T @ features / num_samples, features.T @ labels / num_samples, num_samples)
    table = prefix_table(jnp.asarray(drawn_rows()[0]), TASK.concepts)  # made once, for every sample size
    design = design_of(jnp.asarray(features), jnp.asarray(noise))
    result = refined_moments(design, table, jnp.asarray(boundaries), TASK.concepts, noise_var)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=RTOL, atol=1e-13), tuple(result), expected)


def test_one_concept_needs_no_table():
    # With all weight on one concept, refined labels are linear ones.
    features, noise = (jnp.asarray(x) for x in drawn_rows())
    arrivals, table = arrival_times(jax.random.key(0), MAX_SAMPLES), prefix_table(features, TASK.concepts)
    for k in range(3):
        with np.errstate(divide="ignore"):
            boundaries = shared_boundaries(arrivals, jnp.asarray(np.log(np.eye(3)[k])), MAX_SAMPLES)
        result = refined_moments(design_of(features, noise), table, boundaries, TASK.concepts, TASK.noise_var)
        expected = moments(Dataset(features, linear_labels(features, noise, TASK.concepts[k], TASK.noise_var)))
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=RTOL, atol=1e-13), result, expected)


# --- counts ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counts():
    """Rows per concept of 20,000 draws of 12 arrivals, for any posterior and any n <= 12."""

    def count(key, posterior, num_samples):
        boundaries = shared_boundaries(arrival_times(key, MAX_SAMPLES), jnp.log(posterior), num_samples)
        return jnp.diff(boundaries, prepend=0, append=num_samples)

    draw = replicates(count, 20_000)
    return lambda posterior, num_samples: np.asarray(draw(jnp.asarray(posterior), jnp.asarray(num_samples)))


@pytest.mark.parametrize("num_samples", [1, 5, MAX_SAMPLES])
@pytest.mark.parametrize("posterior", [(0.5, 0.2, 0.3), (0.0, 0.6, 0.4), (0.3, 0.7, 0.0), (0.0, 0.0, 1.0)])
def test_counts_are_multinomial(counts, posterior, num_samples):
    drawn, posterior = counts(posterior, num_samples), np.array(posterior)
    assert drawn.min() >= 0
    np.testing.assert_array_equal(drawn.sum(axis=1), num_samples)
    np.testing.assert_array_equal(drawn[:, posterior == 0], 0)
    if (posterior == 1).any():
        return
    # Every composition of n into three counts, against its probability; rare ones are pooled.
    cells = np.array([(i, j, num_samples - i - j) for i in range(num_samples + 1) for j in range(num_samples + 1 - i)])
    observed = np.array([(drawn == cell).all(axis=1).sum() for cell in cells])

    def p_value(posterior):
        expected = len(drawn) * stats.multinomial.pmf(cells, num_samples, posterior)
        common = expected >= 10
        pairs = [(observed[common], expected[common])]
        if (rest := expected[~common].sum()) > 1:
            pairs.append(([observed[~common].sum()], [rest]))
        seen, wanted = (np.concatenate(side) for side in zip(*pairs))
        return stats.chisquare(seen, wanted * seen.sum() / wanted.sum()).pvalue

    assert p_value(posterior) > 1e-3
    largest = posterior.argmax()
    wrong = posterior * np.where(np.arange(3) == largest, 0.9, 1)
    assert p_value(wrong / wrong.sum()) < 1e-6


def test_arrivals_are_sorted_uniforms_at_every_prefix():
    # The first j over the (j+1)-th: the i-th of j sorted uniforms has the law Beta(i, j + 1 - i).
    arrivals = np.asarray(replicates(lambda key: arrival_times(key, 6), 5_000)())
    assert np.all(np.diff(arrivals, axis=1) > 0)
    for j in (1, 4, 6):
        uniforms = arrivals[:, :j] / arrivals[:, j : j + 1]
        for i in range(j):
            order = stats.beta(i + 1, j - i)
            assert stats.kstest(uniforms[:, i], order.cdf).pvalue > 1e-3
            assert stats.kstest(0.9 * uniforms[:, i], order.cdf).pvalue < 1e-6


# --- the law of the moments -----------------------------------------------------------------------------------------


SIZES = (3, MAX_SAMPLES)  # below and above the dimension


def sorted_road(key):
    """Moments of the first n of 12 rows, concepts in sorted order, for each n."""
    features = sample_features(stream(key, "features"), MAX_SAMPLES, 4)
    noise = jax.random.normal(stream(key, "noise"), (MAX_SAMPLES,))
    arrivals, table = arrival_times(stream(key, "arrivals"), MAX_SAMPLES), prefix_table(features, TASK.concepts)
    return {
        n: refined_moments(
            design_of(features[:n], noise[:n]),
            table,
            shared_boundaries(arrivals, LOG_POSTERIOR, n),
            TASK.concepts,
            TASK.noise_var,
        )
        for n in SIZES
    }


def row_road(key):
    """The same with a concept drawn for each row."""
    features = sample_features(stream(key, "features"), MAX_SAMPLES, 4)
    labels = refine_labels(stream(key, "labels"), TASK, features, LOG_POSTERIOR)
    return {n: moments(Dataset(features[:n], labels[:n])) for n in SIZES}


@pytest.fixture(scope="module")
def roads():
    """25,000 moments by each road."""
    return [replicates(road, 25_000, seed)() for seed, road in enumerate((sorted_road, row_road))]


@pytest.mark.parametrize("num_samples", SIZES)
def test_sorted_moments_have_the_exact_mean_and_covariance(roads, num_samples):
    mean, covariance = moment_law(TASK.concepts, POSTERIOR, TASK.noise_var, TASK.feature_var, num_samples)
    std, (i, j) = np.sqrt(np.diag(covariance)), np.triu_indices(mean.size)
    centred = moment_vector(roads[0][num_samples]) - mean
    assert_mean(centred, 0.0, scale=std)
    assert_mean(centred[:, i] * centred[:, j], covariance[i, j], scale=std[i] * std[j])
    assert_mean_rejects(((centred / std) ** 2).mean(axis=1), 1.1)


@pytest.mark.parametrize("num_samples", SIZES)
def test_sorted_labels_equal_labels_row_by_row_in_law(roads, num_samples):
    one, other = (np.asarray(least_squares_risks(TASK, road[num_samples])) for road in roads)
    assert stats.ks_2samp(one, other).pvalue > 1e-3
    assert stats.ks_2samp(1.1 * one, other).pvalue < 1e-6


# --- single precision -----------------------------------------------------------------------------------------------


def test_single_precision_agrees():
    features, noise = (jnp.asarray(x) for x in drawn_rows())
    boundaries = jnp.array([4, 9])

    def both(dtype):
        rows, eps, concepts = (x.astype(dtype) for x in (features, noise, TASK.concepts))
        table = prefix_table(rows, concepts)
        return table, refined_moments(design_of(rows, eps), table, boundaries, concepts, jnp.asarray(0.7, dtype))

    for one, same in zip(jax.tree.leaves(both(jnp.float32)), jax.tree.leaves(both(jnp.float64)), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, same, rtol=1e-4, atol=1e-5)
