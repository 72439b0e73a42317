"""Designs drawn as moments: how (gram, cross) is distributed for labels of several concepts, against the exact one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_sampling import assert_moments_of_source, assert_same_risks, drawn, general_task, replicates
from w2s_jax.increments import concept_span, increment_beside, label_coordinates
from w2s_jax.rng import stream
from w2s_jax.sampling import wishart_root
from w2s_jax.types import Moments

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
TASK = general_task()  # K = 3 concepts in d = 4, so labels see p = 2 coordinates


def direct_moments(key, num_samples):
    """Moments of labels of the source's mixture: rows are drawn in the span of the concepts' differences alone."""
    basis, coordinates = concept_span(TASK.concepts, TASK.feature_var)
    seen = jax.random.normal(stream(key, "seen"), (basis.shape[0], num_samples))
    rest = wishart_root(stream(key, "rest"), max(num_samples - 3, 0), 4)
    increment = increment_beside(stream(key, "unseen"), seen, basis, rest)
    concept = jax.random.categorical(stream(key, "concept"), jnp.log(TASK.source_prior), shape=(num_samples,))
    labels = (coordinates @ seen)[concept, jnp.arange(num_samples)]
    root = increment.root * jnp.sqrt(TASK.feature_var)[None, :]
    gram = root.T @ root / num_samples
    noise = jax.random.normal(stream(key, "noise"), root.shape[:1]) @ root / num_samples
    label = label_coordinates(labels @ increment.directions.T, labels @ labels)
    cross = gram @ TASK.concepts[-1] + label @ root[: label.size] / num_samples + jnp.sqrt(TASK.noise_var) * noise
    return Moments(gram, cross, jnp.asarray(float(num_samples)))


# Below d and above it; then below p, and where the coordinates seen leave nothing over.
@pytest.mark.slow
@pytest.mark.parametrize("num_samples", [3, 12, 1, 2])
def test_moments_have_the_exact_law(num_samples):
    """Its mean and covariance; and risks as of moments for which each concept's rows are a group of their own."""
    found = replicates(lambda key: direct_moments(key, num_samples), 25_000, seed=2)()
    assert_moments_of_source(found, TASK, num_samples, scale=4)
    assert_same_risks(TASK, found, drawn(TASK, num_samples))
    ranks = np.linalg.matrix_rank(np.asarray(found.gram)[:200], tol=1e-8)
    np.testing.assert_array_equal(ranks, min(num_samples, 4))


def test_rows_seen_are_part_of_the_gram(key):
    basis = jnp.asarray(np.linalg.qr(np.random.default_rng(0).standard_normal((5, 2)))[0].T)
    for n in (1, 3, 9):
        seen = jax.random.normal(key, (2, n))
        increment = increment_beside(jax.random.key(1), seen, basis, jnp.ones((5, 5)))
        gram = increment.root.T @ increment.root
        np.testing.assert_allclose(basis @ gram @ basis.T, seen @ seen.T, rtol=1e-10, atol=1e-12)
        # A label in the span of the rows' coordinates is linear in them: nothing of it is left over.
        labels = np.array([0.3, -2.0]) @ seen
        label = label_coordinates(labels @ increment.directions.T, labels @ labels)
        np.testing.assert_allclose(label[-1], 0, atol=1e-6)
        np.testing.assert_allclose(label @ increment.root[:3], gram @ basis.T @ np.array([0.3, -2.0]), atol=1e-6)


def test_single_precision_agrees(key):
    basis, coordinates = concept_span(TASK.concepts, TASK.feature_var)
    seen = jax.random.normal(key, (2, 12))
    labels = (coordinates @ seen)[jnp.arange(12) % 3, jnp.arange(12)]

    def both(dtype):
        gram_root = increment_beside(key, seen.astype(dtype), basis.astype(dtype), jnp.zeros((4, 4), dtype))
        y = labels.astype(dtype)
        return label_coordinates(y @ gram_root.directions.T, y @ y)

    np.testing.assert_allclose(both(jnp.float32), both(jnp.float64), rtol=1e-4, atol=1e-4)
