"""Scaling laws: SciPy's roots, published forms of special cases, scikit-learn's ridge, slopes on endless spectra."""

import math
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.linear_model import Ridge

from sims.theory_sweep.studies import scaling_laws as study
from w2s_jax import theory_zoo as zoo
from w2s_jax.rng import stream
from w2s_jax.theory_zoo import FeatureRidge, Schedule

D = 150
GIVEN = zoo.power_law_spectrum(1.4, 0.6, D)
LAM, TARGET = map(np.asarray, GIVEN)
LEARNERS = [
    FeatureRidge(60.0, 1e-3, 90.0),
    FeatureRidge(90.0, 1e-2, 60.0),
    FeatureRidge(40.0, 0.1),
    FeatureRidge(math.inf, 1e-3, 70.0),
    FeatureRidge(50.0, 0.0, 80.0),
    FeatureRidge(80.0, 0.0, 50.0),
]
penalty_of, risk = jax.jit(zoo.feature_ridge_penalty), jax.jit(zoo.feature_ridge_risk)
student_risk = jax.jit(zoo.feature_ridge_student_risk)


Fit = namedtuple("Fit", "shares missed of_noise variance")
"""Mean shares and what is missed of them; variances by noise of variance 1, and by the squares of the labels."""


def oracle(lam, learner, g=1.0) -> Fit:
    """By SciPy's root, each eigenvalue `g` times."""
    g = np.broadcast_to(g, lam.shape)
    n, p = learner.num_samples, learner.width
    least = min(n, p)

    def z(y):
        return np.sum(g * lam / (lam + np.exp(y)))

    top = math.log(4 * (g @ lam) / least + 8 * learner.penalty)
    border = brentq(lambda y: z(y) - least, top - 150, top) if g.sum() > least else top - 150
    if learner.penalty > 0:

        def excess(y):
            return math.log(max((1 - z(y) / n) * (1 - z(y) / p), 1e-300)) + y - math.log(learner.penalty)

        if excess(border + 1e-12) < 0:
            border = brentq(excess, border + 1e-12, top, xtol=1e-13)
    nu = np.exp(border)
    s, m = lam / (lam + nu), nu / (lam + nu)
    o, left = s * m, p - g @ s**2
    w, v = s**2 + o * (g @ o) / left, m**2 + o * (g @ o) / left
    room = n - g @ w

    def variance(squares):
        return o * (g @ (o * squares)) / left + w * (g @ (v * squares)) / room

    return Fit(s, m, w / room, variance)


def oracle_risks(lam, target, noise_var, teacher, student, g=1.0):
    """Teacher and student by the second moments of their coefficients."""
    g = np.broadcast_to(g, lam.shape)
    first, second = (oracle(lam, one, g) for one in (teacher, student))
    spread = first.variance(target**2) + noise_var * first.of_noise
    passed_on = second.shares**2 * spread + second.variance((first.shares * target) ** 2 + spread)
    lost = first.missed + first.shares * second.missed
    return g @ ((first.missed * target) ** 2 + spread), g @ ((lost * target) ** 2 + passed_on)


@pytest.mark.parametrize("teacher", LEARNERS)
def test_scipy_finds_the_root_and_second_moments_add_up_to_the_risks(teacher):
    shares = oracle(LAM, teacher).shares
    nu = float(penalty_of(GIVEN[0], teacher))
    np.testing.assert_allclose(LAM / (LAM + nu), shares, rtol=1e-8)
    for student in LEARNERS:
        expected = oracle_risks(LAM, TARGET, 0.3, teacher, student)
        found = risk(*GIVEN, 0.3, teacher), student_risk(*GIVEN, 0.3, teacher, student)
        np.testing.assert_allclose(found, expected, rtol=1e-7, err_msg=str(student))


@pytest.mark.parametrize("learner", LEARNERS[:3])
def test_test_error_of_simon_et_al(learner):
    """Their form (2023): two unknowns kappa and gamma, and one denominator for noise and signal."""
    n, k = learner.num_samples, min(learner.width, 1e9)
    gamma = float(penalty_of(GIVEN[0], learner))
    z, q = np.sum(LAM / (LAM + gamma)), np.sum((LAM / (LAM + gamma)) ** 2)
    kappa = gamma * (k - z) / k
    np.testing.assert_allclose(n, z + n * learner.penalty / kappa, rtol=1e-7)
    left = gamma / (LAM + gamma) - kappa * LAM / (LAM + gamma) ** 2 * k / (k - q)
    error = (left @ TARGET**2 + 0.3) / (1 - (q * (k - 2 * z) + z**2) / (n * (k - q)))
    np.testing.assert_allclose(risk(*GIVEN, 0.3, learner) + 0.3, error, rtol=1e-6)


@pytest.mark.parametrize(("eta_t", "eta_s"), [(0.1, 0.4), (1.0, 0.05)])
def test_equal_eigenvalues_are_the_ridge_pair_of_marchenko_and_pastur(eta_t, eta_s):
    dim, signal = 60, 1.7
    target = jnp.full(dim, math.sqrt(signal / dim))
    given = jnp.ones(dim), target, 0.5, FeatureRidge(90.0, eta_t)
    cell = signal, 0.5, dim / 90, eta_t
    expected = zoo.ridge_pair_teacher_risk(*cell), zoo.ridge_pair_student_risk(*cell, dim / 45, eta_s)
    found = risk(*given), student_risk(*given, FeatureRidge(45.0, eta_s))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_student_that_learns_everything_is_its_teacher_and_a_perfect_teacher_is_the_truth():
    own, copy = LEARNERS[0], FeatureRidge(math.inf, 0.0)
    np.testing.assert_allclose(student_risk(*GIVEN, 0.3, own, copy), risk(*GIVEN, 0.3, own), rtol=1e-9)
    np.testing.assert_allclose(student_risk(*GIVEN, 0.3, copy, own), risk(*GIVEN, 0.0, own), rtol=1e-9)
    peak = risk(*GIVEN, 0.3, FeatureRidge(70.0, 0.0, 70.0))
    assert peak > 1e5 * risk(*GIVEN, 0.3, own)  # at n = p


def endless(alpha: float, r: float, first: int = 2000, last: float = 1e24):
    """A power law without end: eigenvalues, coefficients and multiplicities, grouped where they hardly change."""
    edges = np.geomspace(first + 0.5, last, 1500)
    index = np.concatenate([np.arange(1, first + 1), np.sqrt(edges[1:] * edges[:-1])])
    return index**-alpha, index ** -(0.5 + alpha * r), np.concatenate([np.ones(first), np.diff(edges)])


INF = math.inf
REGIMES = {
    "shrinkage": (2.0, 0.75, Schedule(0.8, 1.8), Schedule(0.4, 1.2)),
    "shrinkage, saturated": (2.0, 1.4, Schedule(0.6, 1.5), Schedule(0.35)),
    "the student's features": (2.0, 1.4, Schedule(1.6), Schedule(0.7, 0.25, INF)),
    "the teacher's noise of samples": (1.5, 0.7, Schedule(1.2), Schedule(0.9)),
    "the same, few labels for the student": (2.5, 0.9, Schedule(2.25), Schedule(1.2, INF, 0.6)),
    "a teacher that does not improve": (1.5, 0.7, Schedule(1.5), Schedule(0.35)),
    "the teacher's noise of features": (2.5, 0.9, Schedule(2.0, 0.2), Schedule(1.0, 2.0, 2.0)),
    "the same, cut off": (4.0, 1.4, Schedule(2.0, 0.15), Schedule(0.45)),
    "as many features as samples": (3.0, 0.4, Schedule(1.23), Schedule(2.45, 1.0)),
    "few features, many samples": (3.0, 0.3, Schedule(0.66, 2.0), Schedule(1.87, INF, 2.0)),
}
FAR = {"the same, cut off": 1e30}
"""Where the powers of a regime are still far at a size of 10^12."""


@pytest.mark.parametrize("regime", REGIMES)
def test_exponents_are_slopes_on_endless_spectra(regime):
    """Over five sizes; to 2% (0.01 where a risk does not fall)."""
    alpha, r, *schedules = REGIMES[regime]
    *given, count = endless(alpha, r)
    sizes, found = FAR.get(regime, 1e12) * np.geomspace(1, 100, 5), []
    for size in sizes:
        pair = (FeatureRidge(4 * size**s.samples, size**-s.penalty, size**s.width) for s in schedules)
        found.append(oracle_risks(*given, 0.1, *pair, count))
    slopes = -np.polyfit(np.log(sizes), np.log(found), 1)[0]
    alone = float(zoo.feature_ridge_exponent(alpha, r, schedules[0]))
    expected = alone, zoo.feature_ridge_student_exponent(alpha, r, *schedules)
    np.testing.assert_allclose(slopes, expected, rtol=0.02, atol=0.01 * (alone == 0))


def test_a_search_finds_the_best_student_and_when_it_beats_its_teacher():
    rng, grid = np.random.default_rng(0), np.linspace(0.002, 3.6, 6001)
    better = 0
    for _ in range(60):
        alpha, r = rng.uniform(1.2, 3), rng.uniform(0.2, 1.6)
        teacher = Schedule(rng.uniform(0.1, 1.2 * alpha), rng.choice([0.3, 0.7, 1.5, INF]))
        own = float(zoo.feature_ridge_exponent(alpha, r, teacher))
        best = zoo.best_student_schedule(alpha, r, teacher)
        found = zoo.feature_ridge_student_exponent(alpha, r, teacher, Schedule(jnp.asarray(grid)))
        np.testing.assert_allclose(best.exponent, jnp.max(found), atol=2e-3)
        at_best = zoo.feature_ridge_student_exponent(alpha, r, teacher, Schedule(best.penalty))
        np.testing.assert_allclose(at_best, best.exponent, rtol=1e-12)
        resolved = min(teacher.penalty, alpha * min(1, teacher.width))
        assert (best.exponent > own + 1e-9) == (own < 2 * resolved * min(r, 1) - 1e-9)
        assert best.exponent <= 2 * alpha * min(r, 1) / (2 * alpha * min(r, 1) + 1) + 1e-12
        better += bool(best.exponent > own + 1e-9)
    assert 10 < better < 50


@pytest.mark.slow
@pytest.mark.parametrize("width", [20, 60, None])
def test_fits_are_those_of_scikit_learn(key, width):
    n, penalty = 40, 0.02
    found = study.fit_feature_ridge(key, *GIVEN, 0.3, penalty, num_samples=n, width=width)
    inputs = np.asarray(jax.random.normal(stream(key, "inputs"), (n, D)))
    labels = inputs @ TARGET + math.sqrt(0.3) * np.asarray(jax.random.normal(stream(key, "noise"), (n,)))
    mixed = np.eye(D) if width is None else np.asarray(jax.random.normal(stream(key, "features"), (width, D)))
    features = mixed * np.sqrt(LAM / (1 if width is None else width))
    ridge = Ridge(alpha=n * penalty, fit_intercept=False).fit(inputs @ features.T, labels)
    np.testing.assert_allclose(found, ridge.coef_ @ features, rtol=1e-6, atol=1e-10)


def test_learners_of_the_study_are_best_and_too_little_regularised():
    target = study.CAPACITY, study.SOURCE
    best = zoo.best_student_schedule(*target, Schedule(INF))
    np.testing.assert_allclose(best.penalty, study.BEST_PENALTY, rtol=1e-12)
    np.testing.assert_allclose(zoo.feature_ridge_exponent(*target, Schedule(best.penalty)), best.exponent, rtol=1e-12)
    assert float(zoo.feature_ridge_exponent(*target, Schedule(study.CAPACITY))) == pytest.approx(0, abs=1e-12)
