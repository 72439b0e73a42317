"""EM on the mixture weights: against dense copies and SciPy's maximum likelihood; its first step is refinement."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize, root

from tests.oracles import log_posterior
from tests.test_sampling import general_task
from tests.test_theory_population import refusals
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


def maximum_likelihood(density):
    """SciPy's maximum over the simplex: SLSQP finds the face, Newton's method within it the last digits."""
    count = density.shape[1]

    def loss(w):
        return -np.log(density @ w).mean()

    def slope(w):
        return -(density / (density @ w)[:, None]).mean(axis=0)

    whole = [{"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}]
    start = np.full(count, 1 / count)
    found = minimize(loss, start, jac=slope, method="SLSQP", bounds=[(0, 1)] * count, constraints=whole, tol=1e-12)
    face = np.flatnonzero(found.x > 1e-5)
    if face.size == 1:
        return np.eye(count)[face[0]]
    within = np.zeros((face.size - 1, count))  # moves that keep the sum, from the last weight of the face to the others
    within[:, face[:-1]], within[:, face[-1]] = np.eye(face.size - 1), -1.0

    def turned(u):
        moves = (density @ within.T) / (density @ (start + u @ within))[:, None]
        return moves.T @ moves / len(density)

    start = np.where(found.x > 1e-5, found.x, 0.0)
    start /= start.sum()
    polished = root(
        lambda u: within @ slope(start + u @ within), np.zeros(face.size - 1), jac=turned, options={"xtol": 1e-15}
    )
    return start + polished.x @ within


@pytest.mark.parametrize(("num_samples", "seed", "face"), [(60, 0, 3), (12, 3, 2), (8, 8, 2)])
def test_many_steps_reach_the_maximum_likelihood(num_samples, seed, face):
    data = weak_dataset(num_samples, seed)
    expected = maximum_likelihood(densities(data))
    result = np.asarray(path(TASK, data, (5000, 5001)))
    np.testing.assert_allclose(result[0], expected, atol=1e-8)
    np.testing.assert_allclose(result[1], result[0], atol=1e-12)  # a fixed point
    assert np.count_nonzero(expected > 1e-6) == face
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


def test_slopes_at_a_shift_of_zero_are_one_sided_differences():
    @jax.jit
    def weights(shift):
        prior = jnp.eye(len(TASK.source_prior))[0] * (1 - shift) + shift * TASK.source_prior
        return em_prior(TASK._replace(source_prior=prior), weak_dataset(5), 2)

    step = 1e-7
    difference = (4 * weights(step / 2) - 3 * weights(0.0) - weights(step)) / step
    np.testing.assert_allclose(jax.jacfwd(weights)(0.0), difference, rtol=1e-3)
    assert np.abs(difference).min() > 1e-3


test_bad_arguments_are_named = refusals(
    (lambda: em_prior(TASK, DATA, -1), "the number of EM steps must not be negative, got -1; 0 leaves the prior."),
    (lambda: em_path(TASK, DATA, (3, -2, 0)), "the number of EM steps must not be negative, got -2"),
    (lambda: em_prior(TASK, DATA, 1.5), "num_steps must be an integer, got"),
    (lambda: em_prior(TASK, DATA, 1, assumed_noise_var=0.0), "assumed_noise_var must be positive, got 0.0"),
    (lambda: em_steps(jnp.ones(2) / 2, jnp.ones((3, 5)), 1), r"^likelihood must have shape \[K n\] with K = 2"),
    (
        lambda: em_prior(TASK, DATA._replace(features=DATA.features[:, :3]), 1),
        r"^dataset.features must have shape \[n d\] with d = ",
    ),
)
