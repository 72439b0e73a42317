"""Finite samples: where least squares has no risk, Marchenko-Pastur against quadrature, and its next term."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from tests.oracles import marchenko_pastur_mean
from tests.test_theory_population import in_random_frame, written_task
from w2s_jax import theory

least_squares_risk, ridge_risk = jax.jit(theory.least_squares_risk), jax.jit(theory.ridge_risk)
weak_bias, population_ridge_risk = jax.jit(theory.weak_bias), jax.jit(theory.population_ridge_risk)
ridge_risk_correction = jax.jit(theory.ridge_risk_correction)
DIM = 8


def example():
    return in_random_frame(written_task(3, DIM, 0.7, 0.5))


def test_least_squares_risk_is_infinite_between_unless_noise_free():
    task = example()
    assert all(jnp.isinf(least_squares_risk(task, n)) for n in (7, 8, 9))
    quiet = task._replace(weak_noise_var=jnp.asarray(np.zeros(())))
    np.testing.assert_allclose(least_squares_risk(quiet, 8), weak_bias(task), rtol=1e-12)
    assert jnp.isinf(ridge_risk(task, 8, 0.0))
    np.testing.assert_allclose(ridge_risk(quiet, 8, 0.0), weak_bias(task), rtol=1e-12)


def assert_terms(form, n, penalty, *, first, second, zeroth, **tolerance):
    """Each term alone, by a task in which the others vanish, and all of them at once."""
    for accuracy, shift, noise_var, expected in (
        (1.0, 0.0, 1.0, DIM / n * first),
        (1.0, 0.5, 0.0, 0.5 * zeroth),
        (0.5, 0.0, 0.0, second),
        (0.5, 0.5, 0.0, second + 0.5 * zeroth + 2 * 0.25 * penalty * first),
    ):
        task = written_task(2, DIM, accuracy, shift, noise_var)
        np.testing.assert_allclose(form(task, n, penalty), expected, **tolerance)


@pytest.mark.parametrize("penalty", [0.0, 0.03, 3.0])
@pytest.mark.parametrize("gamma", [0.05, 0.95, 1.5])
def test_ridge_terms_are_integrals_of_the_marchenko_pastur_distribution(gamma, penalty):
    """Against adaptive quadrature of the density."""
    mean = partial(marchenko_pastur_mean, gamma=gamma)
    first = mean(lambda x: x / (x + penalty) ** 2 if x + penalty > 0 else 0.0)
    zeroth = mean(lambda x: (penalty / (x + penalty)) ** 2 if x + penalty > 0 else 1.0)
    second = mean(lambda x: (x / (x + penalty)) ** 2 if x + penalty > 0 else 0.0)
    tolerance = {"rtol": 1e-7, "atol": 1e-9}
    assert_terms(ridge_risk, DIM / gamma, penalty, first=first, second=second, zeroth=zeroth, **tolerance)


def published_term(gamma, eta):
    """E tr (S + eta)^-1 less d times its limit, as Bai and Silverstein (2004) state it, for n and d large."""
    m = brentq(lambda m: 1 / m - gamma / (1 + m) - eta, 1e-9, 1e9, xtol=1e-14, rtol=1e-14)
    return gamma * m**3 / (1 + m) ** 3 / (1 - gamma * m**2 / (1 + m) ** 2) ** 2


@pytest.mark.parametrize(("gamma", "eta"), [(0.5, 0.3), (0.9, 1.0), (2.0, 0.1)])
def test_the_next_term_of_ridge_is_the_published_one(gamma, eta):
    """The trace of S (S + eta)^-1 and its slope, from the published trace of (S + eta)^-1."""
    step = 1e-4

    def mean(x):  # of lambda/(lambda + x), its next term
        return -x * published_term(gamma, x) / DIM

    first = -(mean(eta + step) - mean(eta - step)) / (2 * step)
    second, zeroth = mean(eta) - eta * first, -mean(eta) - eta * first
    tolerance = {"rtol": 1e-6, "atol": 1e-9}
    assert_terms(ridge_risk_correction, DIM / gamma, eta, first=first, second=second, zeroth=zeroth, **tolerance)


def test_the_next_term_of_least_squares_is_that_of_the_exact_risk():
    task, n = example(), 4000.0
    term = float(ridge_risk_correction(task, n, 0.0))
    np.testing.assert_allclose(term, least_squares_risk(task, n) - ridge_risk(task, n, 0.0), rtol=2e-3)
