"""Finite samples: where least squares has no risk, and Marchenko-Pastur against quadrature and against its own rate.

Simulated fits are those of test_closed_forms.py and test_pipeline.py, and rows of `sims/checks/finite_sample.py`, which
the slow suite runs (test_verify.py).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from tests.oracles import marchenko_pastur_mean
from tests.test_theory_population import in_random_frame, written_task
from w2s_jax import theory

least_squares_risk, ridge_risk, weak_bias, population_ridge_risk = (
    jax.jit(f) for f in (theory.least_squares_risk, theory.ridge_risk, theory.weak_bias, theory.population_ridge_risk)
)


def example():
    options = {"num_concepts": 3, "dim": 8, "weak_accuracy": 0.7, "concept_shift": 0.5}
    return in_random_frame(written_task(**options))


def test_least_squares_risk_is_infinite_between_unless_noise_free():
    task = example()
    assert all(jnp.isinf(least_squares_risk(task, n)) for n in (7, 8, 9))
    quiet = task._replace(weak_noise_var=jnp.asarray(np.zeros(())))
    np.testing.assert_allclose(least_squares_risk(quiet, 8), weak_bias(task), rtol=1e-12)
    assert jnp.isinf(ridge_risk(task, 8, 0.0))
    np.testing.assert_allclose(ridge_risk(quiet, 8, 0.0), weak_bias(task), rtol=1e-12)


@pytest.mark.parametrize("penalty", [0.0, 0.03, 3.0])
@pytest.mark.parametrize("gamma", [0.05, 0.95, 1.5])
def test_ridge_terms_are_integrals_of_the_marchenko_pastur_distribution(gamma, penalty):
    """Each term alone (by a task in which the others vanish), against adaptive quadrature of the density."""
    mean, d = partial(marchenko_pastur_mean, gamma=gamma), 8
    n = d / gamma
    loud = written_task(num_concepts=2, dim=d, weak_accuracy=1.0, concept_shift=0.0, noise_var=1.0, weakness="noisy")
    silent = {"num_concepts": 2, "dim": d, "noise_var": 0.0}
    far_source = written_task(**silent, weak_accuracy=1.0, concept_shift=0.5, weakness="noisy")
    far_weak = written_task(**silent, weak_accuracy=0.5, concept_shift=0.0)
    both = written_task(**silent, weak_accuracy=0.5, concept_shift=0.5)
    first = mean(lambda x: x / (x + penalty) ** 2 if x + penalty > 0 else 0.0)
    zeroth = mean(lambda x: (penalty / (x + penalty)) ** 2 if x + penalty > 0 else 1.0)
    second = mean(lambda x: (x / (x + penalty)) ** 2 if x + penalty > 0 else 0.0)
    tolerance = {"rtol": 1e-7, "atol": 1e-9}
    np.testing.assert_allclose(ridge_risk(loud, n, penalty), gamma * first, **tolerance)
    np.testing.assert_allclose(ridge_risk(far_source, n, penalty), 0.5 * zeroth, **tolerance)
    np.testing.assert_allclose(ridge_risk(far_weak, n, penalty), second, **tolerance)
    mixed = second + 0.5 * zeroth + 2 * 0.25 * penalty * first
    np.testing.assert_allclose(ridge_risk(both, n, penalty), mixed, **tolerance)


def slope(x, y):
    return np.polyfit(np.log(x), np.log(y), 1)[0]


def test_trace_terms_approach_their_limit_as_one_over_d():
    """Gaussian features at gamma = 1/2: the simulated finite-d risk leaves its limit at rate 1/d over six sizes."""
    rng, sizes, penalty = np.random.default_rng(11), np.array([2, 4, 8, 16, 24, 32]), 0.3
    # a task whose only risk is the noise term, gamma t1 at sigma = 1
    noise = written_task(num_concepts=2, dim=2, weak_accuracy=1.0, concept_shift=0.0, noise_var=1.0, weakness="noisy")
    limit = 2 * float(ridge_risk(noise, 4, penalty))
    gaps = []
    for d in sizes:
        features = rng.normal(size=(12_000 if d < 16 else 4000, 2 * d, d))
        eigenvalues = np.linalg.eigvalsh(features.transpose(0, 2, 1) @ features / (2 * d))
        first = np.mean(eigenvalues / (eigenvalues + penalty) ** 2, -1)
        gaps.append(abs(first.mean() - limit))
        assert first.std() / np.sqrt(len(first)) < 0.1 * gaps[-1]
    assert abs(slope(sizes, gaps) + 1) < 0.1


def published_term(gamma, eta):
    """E tr (S + eta)^-1 less d times its limit, as Bai and Silverstein (2004) state it, for n and d large."""
    m = brentq(lambda m: 1 / m - gamma / (1 + m) - eta, 1e-9, 1e9, xtol=1e-14, rtol=1e-14)
    return gamma * m**3 / (1 + m) ** 3 / (1 - gamma * m**2 / (1 + m) ** 2) ** 2


@pytest.mark.parametrize(("gamma", "eta"), [(0.5, 0.3), (0.9, 1.0), (2.0, 0.1)])
def test_the_next_term_of_ridge_is_the_published_one(gamma, eta):
    """Each term alone: the trace of S (S + eta)^-1 and its slope, from the published trace of (S + eta)^-1."""
    d, correction = 8, jax.jit(theory.ridge_risk_correction)
    n, step = d / gamma, 1e-4

    def mean(x):  # of lambda/(lambda + x), its next term
        return -x * published_term(gamma, x) / d

    first = -(mean(eta + step) - mean(eta - step)) / (2 * step)
    second, zeroth = mean(eta) - eta * first, -mean(eta) - eta * first
    silent = {"num_concepts": 2, "dim": d, "noise_var": 0.0}
    loud = written_task(num_concepts=2, dim=d, weak_accuracy=1.0, concept_shift=0.0, noise_var=1.0, weakness="noisy")
    far_source = written_task(**silent, weak_accuracy=1.0, concept_shift=0.5, weakness="noisy")
    far_weak = written_task(**silent, weak_accuracy=0.5, concept_shift=0.0)
    both = written_task(**silent, weak_accuracy=0.5, concept_shift=0.5)
    tolerance = {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(correction(loud, n, eta), gamma * first, **tolerance)
    np.testing.assert_allclose(correction(far_source, n, eta), 0.5 * zeroth, **tolerance)
    np.testing.assert_allclose(correction(far_weak, n, eta), second, **tolerance)
    np.testing.assert_allclose(correction(both, n, eta), second + 0.5 * zeroth + 2 * 0.25 * eta * first, **tolerance)


def test_the_next_term_of_least_squares_is_that_of_the_exact_risk():
    task, n = example(), 4000.0
    term = float(jax.jit(theory.ridge_risk_correction)(task, n, 0.0))
    np.testing.assert_allclose(term, least_squares_risk(task, n) - ridge_risk(task, n, 0.0), rtol=2e-3)


def test_ridge_risk_approaches_the_population_as_one_over_n():
    task = example()
    sizes = np.geomspace(1e2, 1e5, 7)
    for penalty in (0.1, 1.0):
        gaps = [float(ridge_risk(task, n, penalty) - population_ridge_risk(task, penalty)) for n in sizes]
        assert abs(slope(sizes, np.abs(gaps)) + 1) < 0.02


def test_least_squares_approaches_the_weak_bias_as_one_over_n():
    task, sizes = example(), np.geomspace(4e3, 6.4e4, 5)
    gaps = [float(least_squares_risk(task, n) - weak_bias(task)) for n in sizes]
    assert abs(slope(sizes, gaps) + 1) < 0.01


def test_least_squares_is_the_limit_of_ridge_at_no_penalty():
    def wide(d):
        return {"feature_var": np.ones(d), "concepts": np.eye(3, d), "weak_concepts": np.eye(3, d)}

    small = example()
    large = [small._replace(**{name: jnp.asarray(x) for name, x in wide(d).items()}) for d in (80, 8000)]
    for gamma in (0.5, 2.0):
        gaps = []
        for big in large:
            n = big.concepts.shape[1] / gamma
            gaps.append(abs(float(ridge_risk(big, n, 0.0) / least_squares_risk(big, n) - 1)))
        assert gaps[1] < 2e-4
        assert 80 < gaps[0] / gaps[1] < 120


@pytest.mark.parametrize("name", ["least_squares", "ridge"])
def test_traced_sample_size_is_one_program_and_differentiable(name):
    task, sizes = example(), jnp.array([4.0, 20.0, 50.0, 500.0])

    def risk(n, penalty=0.2):
        return theory.least_squares_risk(task, n) if name == "least_squares" else theory.ridge_risk(task, n, penalty)

    one, slopes = jax.jit(risk), jax.jit(jax.grad(risk, argnums=(0, 1)))
    np.testing.assert_allclose(jax.jit(jax.vmap(risk))(sizes), [one(n) for n in sizes], rtol=1e-12)
    difference = (one(50.0 + 1e-5) - one(50.0 - 1e-5)) / 2e-5
    np.testing.assert_allclose(slopes(50.0, 0.2)[0], difference, rtol=1e-6)
    assert jnp.isfinite(slopes(50.0, 0.0)[1])
