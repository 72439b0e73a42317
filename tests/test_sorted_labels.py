"""Sorted labels: prefix sums and counts against plain NumPy, then the moments against their exact law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.test_sampling import assert_moments_of_source, assert_same_risks, drawn, general_task, replicates
from w2s_jax.rng import stream
from w2s_jax.sampling import design_of, sample_features
from w2s_jax.sorted_labels import arrival_times, prefix_table, refined_moments, shared_boundaries

RTOL = 1e-10
TASK = general_task()._replace(feature_var=jnp.ones(4))
LOG_POSTERIOR = jnp.log(TASK.source_prior)
MAX_SAMPLES = 12


@pytest.mark.parametrize("num_samples", [3, MAX_SAMPLES])
def test_refined_moments_are_those_of_explicit_labels(num_samples):
    """Rows up to the first boundary take concept 0, up to the second concept 1, the rest concept 2."""
    rng = np.random.default_rng(0)
    rows, noise = rng.standard_normal((MAX_SAMPLES, 4)), rng.standard_normal(MAX_SAMPLES)[:num_samples]
    features, noise_var = rows[:num_samples], 0.7
    boundaries = np.array([(i, j) for j in range(num_samples + 1) for i in range(j + 1)])
    table = prefix_table(jnp.asarray(rows), TASK.concepts)  # made once, for every sample size
    design = design_of(jnp.asarray(features), jnp.asarray(noise))
    refined = jax.vmap(refined_moments, (None, None, 0, None, None))
    found = jax.jit(refined)(design, table, jnp.asarray(boundaries), TASK.concepts, noise_var)
    for i, between in enumerate(boundaries):
        concept = np.searchsorted(between, np.arange(num_samples), side="right")
        labels = (features * np.asarray(TASK.concepts)[concept]).sum(axis=1) + np.sqrt(noise_var) * noise
        np.testing.assert_allclose(found.cross[i], features.T @ labels / num_samples, rtol=RTOL, atol=1e-13)
    gram = np.broadcast_to(features.T @ features / num_samples, found.gram.shape)
    np.testing.assert_allclose(found.gram, gram, rtol=RTOL, atol=1e-13)
    np.testing.assert_array_equal(found.num_samples, num_samples)


@pytest.fixture(scope="module")
def counts():
    """Rows per concept of 20,000 draws of 12 arrivals, for any posterior and any n <= 12."""

    def count(key, posterior, num_samples):
        boundaries = shared_boundaries(arrival_times(key, MAX_SAMPLES), jnp.log(posterior), num_samples)
        return jnp.diff(boundaries, prepend=0, append=num_samples)

    draw = replicates(count, 20_000)
    return lambda posterior, num_samples: np.asarray(draw(jnp.asarray(posterior), jnp.asarray(num_samples)))


@pytest.mark.parametrize("num_samples", [1, 4, MAX_SAMPLES])
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


SIZES = (3, MAX_SAMPLES)  # below and above the dimension


def of_sorted_labels(key):
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


@pytest.mark.slow
def test_sorted_labels_are_distributed_as_labels_in_any_order():
    for num_samples, found in replicates(of_sorted_labels, 25_000, seed=2)().items():
        assert_moments_of_source(found, TASK, num_samples)
        assert_same_risks(TASK, found, drawn(TASK, num_samples))
