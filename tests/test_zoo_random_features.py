"""Random features and early stopping: identities and SciPy as oracle."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import beta

from w2s_jax.theory_zoo import random_features as rf
from w2s_jax.theory_zoo.random_features import TwoLevel

D, M = 6, 4
TARGET = np.array([1.0, -0.5, 0.3, 0.2, 0.0, 0.1])
RATES = np.geomspace(2.0, 0.1, D)
STUDENT = TwoLevel(dim=20, num_leading=2, width=12, leading=1.0, trailing=0.05)


def test_flow_is_the_solution_of_its_equation():
    theta = np.linspace(0.7, -0.4, D)
    solution = solve_ivp(lambda _, f: RATES * (theta - f), (0, 3.0), np.zeros(D), rtol=1e-12, atol=1e-14).y[:, -1]
    expected = np.sum((TARGET - solution) ** 2)
    np.testing.assert_allclose(rf.flow_risk(*map(jnp.asarray, (TARGET, theta, RATES)), 3.0), expected, rtol=1e-9)


def mean_risk(width, time, target=TARGET, rates=RATES):
    return rf.random_teacher_flow_risk(jnp.asarray(target), jnp.asarray(rates), width, time)


def test_both_ends_of_the_flow():
    square = np.sum(TARGET**2)
    np.testing.assert_allclose(mean_risk(M, 0.0), square, rtol=1e-10)
    np.testing.assert_allclose(mean_risk(M, 1e4), rf.random_teacher_risk(jnp.asarray(TARGET), M), rtol=1e-10)
    g = -np.expm1(-RATES * 1.3)
    np.testing.assert_allclose(mean_risk(D, 1.3), np.sum(((1 - g) * TARGET) ** 2), rtol=1e-10)  # a perfect teacher
    np.testing.assert_allclose(mean_risk(0, 1.3), square, rtol=1e-10)


def test_second_moments_by_the_beta_distribution():
    """P_11 ~ Beta(m/2, (d - m)/2), and off the diagonal E P_12^2 = (m/d - E P_11^2)/(d - 1)."""
    share = beta(M / 2, (D - M) / 2)
    first = np.eye(D)[0]
    alone = mean_risk(M, 1e9, first, 1.0 * first)
    np.testing.assert_allclose(alone, 1 - 2 * share.mean() + share.moment(2), rtol=1e-10)
    off = mean_risk(M, 1e9, first, np.eye(D)[1])
    np.testing.assert_allclose(off, 1 + (M / D - share.moment(2)) / (D - 1), rtol=1e-10)


def two_level(student, time):
    lead = np.arange(student.dim) < student.num_leading
    target = lead / np.sqrt(student.num_leading)
    return float(mean_risk(student.width, time, target, np.where(lead, student.leading, student.trailing)))


@pytest.mark.parametrize("student", [STUDENT, TwoLevel(400, num_leading=30, width=350, leading=5.0, trailing=1e-5)])
def test_best_stopping(student):
    scale = 1 / student.leading
    search = {"bounds": np.log([scale, 1e3 * scale]), "method": "bounded", "options": {"xatol": 1e-10}}
    found = minimize_scalar(lambda y: two_level(student, np.exp(y)), **search)
    np.testing.assert_allclose(rf.stopped_risk(student), found.fun, rtol=1e-10)
    np.testing.assert_allclose(rf.best_stopping_time(student), np.exp(found.x), rtol=3e-4)  # a flat minimum
    weak = 1 - student.width / student.dim
    np.testing.assert_allclose(rf.stopped_pgr(student), 1 - found.fun / weak, rtol=1e-9)
    assert 0 < rf.stopped_pgr(student) < 1


def test_where_stopping_does_not_help():
    for change in ({"trailing": 0.0}, {"trailing": 1.0}, {"num_leading": 20}, {"width": 20}):
        assert jnp.isinf(rf.best_stopping_time(STUDENT._replace(**change))), change
    np.testing.assert_allclose(rf.stopped_risk(STUDENT._replace(trailing=1.0)), 1 - 12 / 20, rtol=1e-10)
    np.testing.assert_allclose(rf.stopped_risk(STUDENT._replace(num_leading=20)), 1 - 12 / 20, rtol=1e-10)
    assert jnp.isnan(rf.stopped_pgr(STUDENT._replace(width=20)))


def test_one_leading_direction_squares_the_teachers_error():
    """r = 0, s = 1: R = R_w^2 teacher by teacher, so E R = (E R_w)^2 + Var R_w."""
    student = STUDENT._replace(num_leading=1, trailing=0.0)
    law = beta((20 - 12) / 2, 12 / 2)
    np.testing.assert_allclose(rf.stopped_risk(student), law.moment(2), rtol=1e-10)
    slow = rf.stopped_risk(student._replace(trailing=1e-7))
    np.testing.assert_allclose(slow, law.moment(2), rtol=1e-4)


def test_floor_is_sharp_and_never_crossed():
    rng = np.random.default_rng(1)
    for width, dim in itertools.product((1, 3, 5), (6, 9)):
        basis = np.linalg.qr(rng.normal(size=(dim, width)))[0]
        target = np.eye(dim)[0]
        teacher = basis @ (basis.T @ target)
        risk = np.sum((target - teacher) ** 2)
        floor = float(rf.student_floor(min(risk, 1.0)))
        assert 0.75 * risk**2 <= floor <= risk**2 + 1e-12
        centre, radius = teacher / 2, np.linalg.norm(teacher) / 2
        nearest = centre + radius * (target - centre) / np.linalg.norm(target - centre)
        direction = nearest / np.linalg.norm(nearest)
        np.testing.assert_allclose(np.sum((target - direction * (direction @ teacher)) ** 2), floor, rtol=1e-9)
        for _ in range(50):  # any kernel, any time
            frame = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
            student = frame @ (rng.uniform(size=dim) * (frame.T @ teacher))
            assert np.sum((target - student) ** 2) >= floor - 1e-12
    np.testing.assert_allclose(rf.student_floor(jnp.array(1e-9)), 1e-18, rtol=1e-8)
    assert rf.student_floor(1.0) == 1.0


def test_equivalents_of_equal_variances_are_the_exact_ones():
    dim, width, time = 400, 150, 1.2
    target = jnp.asarray(np.random.default_rng(2).normal(size=dim))
    rates, flat = jnp.asarray(np.geomspace(3, 0.01, dim)), jnp.full(dim, 0.7)
    teacher = rf.spectrum_teacher_risk(target, flat, width)
    np.testing.assert_allclose(teacher, rf.random_teacher_risk(target, width), rtol=1e-10)
    exact = rf.random_teacher_flow_risk(target, rates, width, time)
    np.testing.assert_allclose(rf.spectrum_flow_risk(target, flat, rates, width, time), exact, rtol=2e-3)


def test_equivalents_of_unequal_variances():
    variances = np.geomspace(2.0, 1e-3, D)
    kappa = brentq(lambda k: np.sum(variances / (variances + k)) - M, 1e-12, 1e3, xtol=1e-15, rtol=1e-14)
    expected = np.sum(TARGET**2 * kappa / (variances + kappa))
    given = jnp.asarray(TARGET), jnp.asarray(variances)
    np.testing.assert_allclose(rf.spectrum_teacher_risk(*given, M), expected, rtol=1e-9)
    np.testing.assert_allclose(rf.spectrum_flow_risk(*given, jnp.ones(D), M, 1e3), expected, rtol=1e-9)
