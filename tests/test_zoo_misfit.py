"""Gain and misfit: identities of projections, SciPy as oracle, exact finite samples against simulated fits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import lsq_linear
from scipy.special import digamma

import w2s_jax
from tests.helpers import assert_mean, assert_mean_sharply
from w2s_jax import theory
from w2s_jax.theory_zoo import misfit
from w2s_jax.theory_zoo.misfit import LinearClass

K, D, N = 3, 6, 14
NOISE_VAR = 0.3
SAMPLE_FORMS = (
    misfit.projection_sample_risk,
    misfit.projection_sample_misfit,
    misfit.projection_training_misfit,
    misfit.projection_sample_variance,
)


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


@pytest.mark.parametrize("seed", range(3))
def test_gain_is_misfit_less_twice_the_overlap(seed):
    problem = example(seed)
    m, o, a = (f(problem) for f in (misfit.projection_misfit, misfit.projection_overlap, misfit.projection_floor))
    gain = weak_risk(problem) - misfit.projected_risk(problem)
    np.testing.assert_allclose(gain, m - 2 * o, rtol=1e-10)
    assert abs(o) <= np.sqrt(m * a)
    within = example(seed, realizable=True)
    gain = weak_risk(within) - misfit.projected_risk(within)
    np.testing.assert_allclose(gain, misfit.projection_misfit(within), rtol=1e-10)
    np.testing.assert_allclose([misfit.projection_overlap(within), misfit.projection_floor(within)], 0, atol=1e-10)


def test_projection_is_weighted_least_squares():
    problem = example()
    root = np.linalg.cholesky(np.asarray(problem.input_cov)).T
    weights = np.linalg.lstsq(root @ np.asarray(problem.strong_map).T, root @ np.asarray(problem.weak_coef), rcond=None)
    np.testing.assert_allclose(misfit.projected_coef(problem), weights[0] @ np.asarray(problem.strong_map), rtol=1e-10)
    whitened = jnp.asarray(root)
    kernel = w2s_jax.misfit(whitened @ misfit.projected_coef(problem), whitened @ problem.weak_coef)
    np.testing.assert_allclose(misfit.projection_misfit(problem), kernel, rtol=1e-10)


def test_only_the_class_counts_not_its_features():
    problem = example()
    mixed = problem._replace(strong_map=jnp.asarray(np.array([[1.0, 2, 0], [0, 1, 3], [1, 0, 1]])) @ problem.strong_map)
    np.testing.assert_allclose(misfit.projected_coef(mixed), misfit.projected_coef(problem), rtol=1e-10)


def test_all_features_give_back_the_teacher():
    problem = example()._replace(strong_map=jnp.eye(D))
    np.testing.assert_allclose(misfit.projected_coef(problem), problem.weak_coef, rtol=1e-10)
    np.testing.assert_allclose(misfit.projection_misfit(problem), 0, atol=1e-12)


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


def simulated(problem, n, count=6000, seed=0):
    """Risk, misfit and mean squared residual of students on n labels."""
    rng = np.random.default_rng(seed)
    cov = np.asarray(problem.input_cov)
    x = rng.normal(size=(count, n, D)) @ np.linalg.cholesky(cov).T
    y = x @ np.asarray(problem.weak_coef) + np.sqrt(NOISE_VAR) * rng.normal(size=(count, n))
    z = x @ np.asarray(problem.strong_map).T
    weights = np.linalg.solve(z.transpose(0, 2, 1) @ z, z.transpose(0, 2, 1) @ y[..., None])
    coefs = weights[..., 0] @ np.asarray(problem.strong_map)
    gaps = [coefs - np.asarray(reference) for reference in (problem.target_coef, problem.weak_coef)]
    return [np.einsum("ri,ij,rj->r", g, cov, g) for g in gaps] + [np.mean((y - (z @ weights)[..., 0]) ** 2, 1)]


def test_finite_samples_are_exact():
    problem = example(2)
    risks, disagreements, residuals = simulated(problem, N)
    for samples, form in zip((risks, disagreements, residuals), SAMPLE_FORMS):
        expected = form(problem, N, NOISE_VAR)
        assert_mean_sharply(samples, expected)


def test_gain_by_either_misfit():
    """gain = M - 2 o - V = (misfit of the fit) - 2 o - 2 V, and it is 0 at the break-even."""
    problem = example(3, realizable=True)
    risk_n, misfit_n = (f(problem, N, NOISE_VAR) for f in SAMPLE_FORMS[:2])
    error = misfit_n - misfit.projection_misfit(problem)
    np.testing.assert_allclose(weak_risk(problem) - risk_n, misfit_n - 2 * error, rtol=1e-10)
    even = misfit.projection_breakeven(problem, NOISE_VAR)
    np.testing.assert_allclose(misfit.projection_sample_risk(problem, even, NOISE_VAR), weak_risk(problem), rtol=1e-10)
    np.testing.assert_allclose(misfit.projection_breakeven(problem), 2 * K + 1, rtol=1e-10)
    hopeless = problem._replace(target_coef=problem.weak_coef)
    assert jnp.isinf(misfit.projection_breakeven(hopeless))


def test_variance_by_moments_of_chi_squares():
    """Where the mean student is right, the risk is v chi^2_k/chi^2_(n-k+1): its log has a mean known by digamma."""
    problem = example(2)._replace(target_coef=misfit.projected_coef(example(2)))
    samples = np.log(simulated(problem, N)[0] / float(NOISE_VAR + misfit.projection_misfit(problem)))
    expected = digamma(K / 2) - digamma((N - K + 1) / 2)
    assert_mean(samples, expected, scale=1.0)
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: misfit.projection_sample_risk(p, 0), "num_samples must be at least 1, got 0"),
        (lambda p: misfit.projection_sample_variance(p, 9, -1.0), "noise_var must not be negative, got -1.0"),
        (lambda p: misfit.projection_breakeven(p, -1.0), "noise_var must not be negative, got -1.0"),
        (lambda p: misfit.ball_projected_coef(p, 0.0), "radius must be positive, got 0.0"),
        (lambda p: misfit.box_projected_coef(p, -2.0), "bound must be positive, got -2.0"),
        (
            lambda p: misfit.projected_risk(p._replace(strong_map=jnp.ones((D + 1, D)))),
            "strong_map must not have more rows than columns, got 7 x 6",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(example())


def test_transformations():
    """jit, vmap and gradients of the finite-sample risk."""
    problems = [example(seed) for seed in range(3)]

    def f(problem):
        return misfit.projection_sample_risk(problem, N, NOISE_VAR)

    eager = [f(problem) for problem in problems]
    np.testing.assert_allclose(jax.jit(f)(problems[0]), eager[0], rtol=1e-12)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)
    np.testing.assert_allclose(jax.vmap(f)(stacked), jnp.stack(eager), rtol=1e-10)
    slope = jax.grad(f)(problems[0])
    for field in ("strong_map", "weak_coef"):
        value = np.asarray(getattr(problems[0], field))
        direction = np.random.default_rng(4).normal(size=value.shape)
        ahead, behind = (
            f(problems[0]._replace(**{field: jnp.asarray(value + step * direction)})) for step in (1e-5, -1e-5)
        )
        along = np.sum(np.asarray(getattr(slope, field)) * direction)
        np.testing.assert_allclose(along, (ahead - behind) / 2e-5, rtol=1e-6)
