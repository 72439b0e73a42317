"""EM on the mixture weights: against dense copies and SciPy's maximum likelihood; its first step is refinement."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from tests.oracles import log_posterior
from tests.test_sampling import general_task
from w2s_jax.em import em_path, em_prior, em_steps
from w2s_jax.refinement import concept_evidence, likelihood_ratio
from w2s_jax.types import Dataset

RTOL = 1e-10
TASK = general_task()
_path = jax.jit(em_path, static_argnames="steps")


def path(task, data, steps, noise_var=None):
    """EM after some numbers of steps: one program for each, and for each shape."""
    noise_var = task.noise_var if noise_var is None else jnp.asarray(noise_var, task.noise_var.dtype)
    return _path(task, data, steps, assumed_noise_var=noise_var)


def weak_dataset(num_samples: int, seed: int = 0) -> Dataset:
    """Labels of a mixture that is not the source's, so that there is something to fit."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((num_samples, 4))
    rows = np.asarray(TASK.concepts)[rng.choice(3, num_samples, p=[0.1, 0.6, 0.3])]
    labels = (features * rows).sum(axis=1) + np.sqrt(0.4) * rng.standard_normal(num_samples)
    return Dataset(jnp.asarray(features), jnp.asarray(labels))


DATA = weak_dataset(60)


def densities(data, noise_var=None):
    """N(y_i; beta_k . phi_i, s_hat^2), `[n K]`."""
    means = np.asarray(data.features) @ np.asarray(TASK.concepts).T
    scale = np.sqrt(TASK.noise_var if noise_var is None else noise_var)
    return stats.norm.pdf(np.asarray(data.labels)[:, None], loc=means, scale=scale)


def dense_em(data, num_steps, noise_var=None):
    """One row at a time, by the posterior of a prompt of that one example."""
    weights = np.asarray(TASK.source_prior)
    for _ in range(num_steps):
        task = TASK._replace(source_prior=weights)
        rows = zip(np.asarray(data.features), np.asarray(data.labels))
        weights = np.mean([np.exp(log_posterior(task, x[None], [y], noise_var)) for x, y in rows], axis=0)
    return weights


@pytest.mark.parametrize("noise_var", [None, 1.7])
def test_the_path_equals_a_dense_copy(noise_var):
    data = weak_dataset(8)
    result = path(TASK, data, (0, 1, 2, 5), noise_var)
    np.testing.assert_allclose(result, [dense_em(data, t, noise_var) for t in (0, 1, 2, 5)], rtol=RTOL)
    np.testing.assert_array_equal(result[0], TASK.source_prior)
    assert np.abs(result[3] - dense_em(data, 4, noise_var)).max() > 1e-3


def test_a_path_is_one_run_in_any_order():
    every = path(TASK, DATA, (0, 1, 3, 7))
    np.testing.assert_allclose(path(TASK, DATA, (7, 1, 0, 7, 3)), every[(3, 1, 0, 3, 2),], rtol=RTOL)
    np.testing.assert_allclose(jax.jit(lambda t, x: em_prior(t, x, 7))(TASK, DATA), every[3], rtol=RTOL)
    likelihood = likelihood_ratio(concept_evidence(TASK, DATA), TASK.source_prior)
    np.testing.assert_allclose(em_steps(every[2], likelihood, 4), every[3], rtol=RTOL)
    np.testing.assert_allclose(every.sum(axis=1), 1.0, rtol=1e-14)


def test_the_likelihood_never_falls():
    for noise_var in (None, 1.7):
        weights = np.asarray(path(TASK, DATA, (0, 1, 2, 3, 4, 6, 9, 16, 40, 200), noise_var))
        rises = np.diff(np.log(densities(DATA, noise_var) @ weights.T).mean(axis=0))
        assert rises.min() > -1e-15 and np.all(rises[:7] > 1e-8)


def slope(density, weights):
    """Of the mean log likelihood, which is concave, in the weights."""
    return (density / (density @ weights)[:, None]).mean(axis=0)


def maximum_likelihood(density):
    """SciPy's maximum over the simplex."""
    whole = [{"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}]
    return minimize(
        lambda w: -np.log(density @ w).mean(),
        np.full(3, 1 / 3),
        jac=lambda w: -slope(density, w),
        method="SLSQP",
        bounds=[(0, 1)] * 3,
        constraints=whole,
        tol=1e-12,
    ).x


@pytest.mark.parametrize(("num_samples", "seed", "face"), [(60, 0, 3), (12, 3, 2), (8, 8, 2)])
def test_many_steps_reach_the_maximum_likelihood(num_samples, seed, face):
    data = weak_dataset(num_samples, seed)
    density = densities(data)
    result = np.asarray(path(TASK, data, (5000, 5001)))
    np.testing.assert_allclose(result[0], maximum_likelihood(density), atol=1e-5)
    # To all digits: no direction within the simplex leads up, and what has a weight is at rest.
    rise = slope(density, result[0]) - 1
    assert rise.max() < 1e-10 and np.abs(result[0] * rise).max() < 1e-12
    np.testing.assert_allclose(result[1], result[0], atol=1e-12)  # a fixed point
    assert np.count_nonzero(result[0] > 1e-6) == face
    assert np.abs(maximum_likelihood(densities(data, 0.44)) - result[0]).max() > 1e-4


def test_a_concept_that_the_source_excludes_stays_out():
    # Even where it explains every row so well that the likelihoods of the others reach their floor.
    near = TASK._replace(noise_var=jnp.array(1e-3))
    best = Dataset(DATA.features, DATA.features @ TASK.concepts[2])
    prior = jnp.array([0.7, 0.3, 0.0])
    result = path(near._replace(source_prior=prior), best, (1, 5))
    per_concept = ("concepts", "target_prior", "weak_concepts", "weak_prior")
    others = near._replace(source_prior=prior[:2], **{name: getattr(near, name)[:2] for name in per_concept})
    np.testing.assert_array_equal(result[:, 2], 0.0)
    np.testing.assert_allclose(result[:, :2], path(others, best, (1, 5)), rtol=1e-9, atol=1e-30)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_weights_stay_on_the_simplex_whatever_the_noise(dtype):
    task, data = jax.tree.map(lambda x: x.astype(dtype), (TASK, DATA))
    for noise_var in (1e-9 if dtype == jnp.float64 else 1e-6, 1e12):
        result = path(task, data, (1, 1000), noise_var)
        assert result.dtype == dtype and result.min() >= 0
        np.testing.assert_allclose(result.sum(axis=1), 1.0, rtol=32 * jnp.finfo(dtype).eps)
    # Labels that say nothing leave the prior.
    np.testing.assert_allclose(result, np.tile(TASK.source_prior, (2, 1)), rtol=1e-4)
