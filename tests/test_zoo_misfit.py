"""Gain and misfit: identities of projections, and SciPy as oracle."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import lsq_linear

import w2s_jax
from w2s_jax import theory
from w2s_jax.theory_zoo import misfit
from w2s_jax.theory_zoo.misfit import LinearClass

K, D, N = 3, 6, 14
NOISE_VAR = 0.3


def example(seed=0, realizable=False) -> LinearClass:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(D, D))
    strong, weak = rng.normal(size=(K, D)), rng.normal(size=D)
    target = rng.normal(size=K) @ strong if realizable else weak + rng.normal(size=D)
    return LinearClass(*(jnp.asarray(x) for x in (strong, weak, target, root @ root.T / D)))


def risk(problem, coef):
    gap = np.asarray(coef - problem.target_coef)
    return gap @ np.asarray(problem.input_cov) @ gap


def weak_risk(problem):
    return risk(problem, problem.weak_coef)


def test_gain_is_misfit_less_twice_the_overlap():
    for problem in (example(), example(realizable=True)):
        m, o, a = (f(problem) for f in (misfit.projection_misfit, misfit.projection_overlap, misfit.projection_floor))
        np.testing.assert_allclose(weak_risk(problem) - misfit.projected_risk(problem), m - 2 * o, rtol=1e-10)
        assert abs(o) <= np.sqrt(m * a) + 1e-10
    np.testing.assert_allclose([o, a], 0, atol=1e-10)


def test_projection_is_weighted_least_squares():
    problem = example()
    root = np.linalg.cholesky(np.asarray(problem.input_cov)).T
    weights = np.linalg.lstsq(root @ np.asarray(problem.strong_map).T, root @ np.asarray(problem.weak_coef), rcond=None)
    projected = misfit.projected_coef(problem)
    np.testing.assert_allclose(projected, weights[0] @ np.asarray(problem.strong_map), rtol=1e-10)
    kernel = w2s_jax.misfit(jnp.asarray(root) @ projected, jnp.asarray(root) @ problem.weak_coef)
    np.testing.assert_allclose(misfit.projection_misfit(problem), kernel, rtol=1e-10)
    # Only the class counts, not its features; all features give back the teacher.
    mixed = problem._replace(strong_map=jnp.asarray(np.array([[1.0, 2, 0], [0, 1, 3], [1, 0, 1]])) @ problem.strong_map)
    np.testing.assert_allclose(misfit.projected_coef(mixed), projected, rtol=1e-10)
    full = problem._replace(strong_map=jnp.eye(D))
    np.testing.assert_allclose(misfit.projected_coef(full), problem.weak_coef, rtol=1e-10)


def test_concepts_as_strong_features_give_the_span():
    task = w2s_jax.make_task(num_concepts=3, dim=7, weak_accuracy=0.6, concept_shift=0.5, noise_var=0.2)
    problem = LinearClass(task.concepts, task.weak_coef, task.target_coef, jnp.diag(task.feature_var))
    np.testing.assert_allclose(misfit.projected_risk(problem), theory.span_bias(task), rtol=1e-10)
    np.testing.assert_allclose(misfit.projection_misfit(problem), theory.span_misfit(task), rtol=1e-10)
    sampled = misfit.projection_sample_risk(problem, 11, task.weak_noise_var)
    np.testing.assert_allclose(sampled, theory.span_risk(task, 11), rtol=1e-10)


def orthogonal(problem):
    seen = problem.strong_map @ problem.input_cov @ problem.strong_map.T
    return problem._replace(strong_map=jnp.linalg.solve(jnp.linalg.cholesky(seen), problem.strong_map))


@pytest.mark.parametrize("shape", ["ball", "box"])
def test_convex_students(shape):
    """A target in the class: the gain is at least the misfit. The box against SciPy, the ball by its optimality."""
    problem = orthogonal(example(1))
    problem = problem._replace(target_coef=problem.strong_map.T @ jnp.asarray([0.1, -0.2, 0.15]))
    root = np.linalg.cholesky(np.asarray(problem.input_cov)).T
    system, teacher = root @ np.asarray(problem.strong_map).T, root @ np.asarray(problem.weak_coef)
    if shape == "box":
        student = misfit.box_projected_coef(problem, 0.3)
        oracle = lsq_linear(system, teacher, (-0.3, 0.3), tol=1e-14).x @ np.asarray(problem.strong_map)
        np.testing.assert_allclose(student, oracle, rtol=1e-6)
        np.testing.assert_array_equal(student, misfit.box_projected_coef(problem, jnp.full(K, 0.3)))
        wide = misfit.box_projected_coef(problem, 1e3)
    else:
        student = misfit.ball_projected_coef(problem, 0.4)
        np.testing.assert_allclose(np.linalg.norm(root @ student), 0.4, rtol=1e-10)
        others = np.random.default_rng(0).normal(size=(500, K)) @ system.T
        others *= 0.4 / np.linalg.norm(others, axis=1, keepdims=True)
        assert np.all(np.linalg.norm(others - teacher, axis=1) >= np.linalg.norm(root @ student - teacher))
        free, inner = misfit.projected_coef(problem), (root @ student) @ (root @ problem.target_coef)
        slack = 2 * (np.linalg.norm(root @ free) / 0.4 - 1) * (0.4**2 - inner)
        np.testing.assert_allclose(misfit.convex_gain_slack(problem, student), slack, rtol=1e-10)
        wide = misfit.ball_projected_coef(problem, 1e3)
    slack = misfit.convex_gain_slack(problem, student)
    disagreement = np.sum((root @ (student - problem.weak_coef)) ** 2)
    np.testing.assert_allclose(weak_risk(problem) - risk(problem, student), disagreement + slack, rtol=1e-10)
    assert slack > 0.01
    np.testing.assert_allclose(wide, misfit.projected_coef(problem), rtol=1e-10)
    np.testing.assert_allclose(misfit.convex_gain_slack(problem, wide), 0, atol=1e-10)


def test_gain_by_either_misfit():
    """gain = M - 2 o - V = (misfit of the fit) - 2 o - 2 V, and it is 0 at the break-even."""
    problem = example(3, realizable=True)
    forms = (misfit.projection_sample_risk, misfit.projection_sample_misfit)
    risk_n, misfit_n = (f(problem, N, NOISE_VAR) for f in forms)
    error = misfit_n - misfit.projection_misfit(problem)
    np.testing.assert_allclose(weak_risk(problem) - risk_n, misfit_n - 2 * error, rtol=1e-10)
    even = misfit.projection_breakeven(problem, NOISE_VAR)
    np.testing.assert_allclose(misfit.projection_sample_risk(problem, even, NOISE_VAR), weak_risk(problem), rtol=1e-10)
    np.testing.assert_allclose(misfit.projection_breakeven(problem), 2 * K + 1, rtol=1e-10)
    hopeless = problem._replace(target_coef=problem.weak_coef)
    assert jnp.isinf(misfit.projection_breakeven(hopeless))


def test_variance_by_moments_of_chi_squares():
    """Where the mean student is right, the risk is v chi^2_k/chi^2_(n-k+1)."""
    problem = example(2)._replace(target_coef=misfit.projected_coef(example(2)))
    v = float(NOISE_VAR + misfit.projection_misfit(problem))
    nu = N - K + 1
    moments = K * (K + 2) / ((nu - 2) * (nu - 4)) - (K / (nu - 2)) ** 2
    np.testing.assert_allclose(misfit.projection_sample_variance(problem, N, NOISE_VAR), v**2 * moments, rtol=1e-10)


def test_too_few_labels():
    problem = example()
    assert [float(misfit.projection_sample_risk(problem, n)) for n in (K, K + 1)] == [np.inf, np.inf]
    assert jnp.isnan(misfit.projection_sample_risk(problem, K - 1))
    assert jnp.isinf(misfit.projection_sample_variance(problem, K + 3))
    assert misfit.projection_training_misfit(problem, K - 1) == 0
