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
    loud, far_source, far_weak, both = (
        written_task(num_concepts=2, dim=d, weak_accuracy=a, concept_shift=shift, noise_var=noise_var)
        for a, shift, noise_var in ((1.0, 0.0, 1.0), (1.0, 0.5, 0.0), (0.5, 0.0, 0.0), (0.5, 0.5, 0.0))
    )
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


def test_risks_approach_those_of_infinite_data_as_one_over_n():
    task = example()
    for risk, limit, sizes in (
        (lambda n: ridge_risk(task, n, 0.1), population_ridge_risk(task, 0.1), np.geomspace(1e3, 1e5, 5)),
        (lambda n: ridge_risk(task, n, 1.0), population_ridge_risk(task, 1.0), np.geomspace(1e3, 1e5, 5)),
        (lambda n: least_squares_risk(task, n), weak_bias(task), np.geomspace(4e3, 6.4e4, 5)),
    ):
        assert abs(slope(sizes, [abs(float(risk(n) - limit)) for n in sizes]) + 1) < 0.01


def test_least_squares_is_the_limit_of_ridge_at_no_penalty():
    options = {"num_concepts": 3, "weak_accuracy": 0.7, "concept_shift": 0.5, "weakness": "noisy"}
    for gamma in (0.5, 2.0):
        ratios = []
        for d in (80, 8000):
            task = written_task(**options, dim=d)
            ratios.append(float(ridge_risk(task, d / gamma, 0.0) / least_squares_risk(task, d / gamma)))
        small, large = np.abs(np.array(ratios) - 1)
        assert large < 2e-4 and 80 < small / large < 120
