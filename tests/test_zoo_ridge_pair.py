"""Ridge teacher to ridge student: quadrature and minima by SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from tests.oracles import marchenko_pastur_mean
from w2s_jax import theory_zoo as zoo

teacher_risk, student_risk = jax.jit(zoo.ridge_pair_teacher_risk), jax.jit(zoo.ridge_pair_student_risk)
best_teacher, best_student = map(jax.jit, (zoo.ridge_pair_best_teacher_penalty, zoo.ridge_pair_best_student_penalty))
CELL = (1.5, 0.8, 0.7)
"""signal, noise_var, teacher_ratio."""
RATIOS = [0.0, 0.05, 0.6, 1.6, 6.0]


def integrals(gamma, eta):
    """Means of x/(x + eta), of its square, and of x/(x + eta)^2 over the Marchenko-Pastur distribution."""
    powers = ((1, 1), (2, 2), (1, 2))
    return [marchenko_pastur_mean(lambda x, i=i, j=j: x**i / (x + eta) ** j, gamma) for i, j in powers]


@pytest.mark.parametrize(
    ("teacher", "student"), [((0.7, 0.1), (3.0, 0.02)), ((1.0, 0.5), (0.4, 0.3)), ((2.5, 0.05), (0.4, 0.3))]
)
def test_risks_are_integrals_of_the_marchenko_pastur_distribution(teacher, student):
    signal, noise_var = 1.5, 0.8
    (k_t, m_t, noise), (k_s, m_s, _) = integrals(*teacher), integrals(*student)
    square = signal * m_t + noise_var * teacher[0] * noise
    found = teacher_risk(signal, noise_var, *teacher), student_risk(signal, noise_var, *teacher, *student)
    expected = signal * (1 - 2 * k_t) + square, signal * (1 - 2 * k_s * k_t) + m_s * square
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_student_without_penalty_is_its_teacher():
    for ratio in (0.0, 0.3, 0.99):
        np.testing.assert_allclose(student_risk(*CELL, 0.2, ratio, 0.0), teacher_risk(*CELL, 0.2), rtol=1e-10)
    assert student_risk(*CELL, 0.2, 1.5, 0.0) != pytest.approx(float(teacher_risk(*CELL, 0.2)))
    np.testing.assert_allclose(student_risk(*CELL, 0.2, 0.3, 1e12), 1.5, rtol=1e-10)


def test_least_squares_is_the_limit_of_no_penalty():
    np.testing.assert_allclose(teacher_risk(1.5, 0.8, 0.7, 0.0), 0.8 * 0.7 / 0.3, rtol=1e-10)
    np.testing.assert_allclose(teacher_risk(1.5, 0.8, 4.0, 0.0), 1.5 * 0.75 + 0.8 / 3, rtol=1e-10)
    assert jnp.isinf(teacher_risk(1.5, 0.8, 1.0, 0.0))
    np.testing.assert_allclose(teacher_risk(1.5, 0.0, 1.0, 0.0), 0.0, atol=1e-12)


def test_infinitely_many_pseudo_labels_shrink_the_teacher():
    for eta in (0.0, 0.5, 4.0):
        k = 1 / (1 + eta)
        expected = (1 - k) ** 2 * 1.5 + k**2 * 0.8 * 0.7 / 0.3  # k times the least-squares teacher
        np.testing.assert_allclose(student_risk(*CELL, 0.0, 0.0, eta), expected, rtol=1e-10)


@pytest.mark.parametrize("ratio", [0.2, 0.7, 1.0, 3.0])
def test_scipy_finds_the_best_teacher(ratio):
    def risk(log_penalty):
        return float(teacher_risk(1.5, 0.8, ratio, np.exp(log_penalty)))

    found = minimize_scalar(risk, bounds=(-6, 4), method="bounded", options={"xatol": 1e-9})
    penalty = best_teacher(1.5, 0.8, ratio)
    np.testing.assert_allclose(penalty, np.exp(found.x), rtol=1e-6)
    np.testing.assert_allclose(teacher_risk(1.5, 0.8, ratio, penalty), found.fun, rtol=1e-10)


@pytest.mark.parametrize("ratio", [*RATIOS, 1.0])
@pytest.mark.parametrize("teacher", [(0.7, 0.0), (3.0, 0.02)])
def test_scipy_finds_the_best_student(teacher, ratio):
    def risk(log_penalty):
        return float(student_risk(1.5, 0.8, *teacher, ratio, np.exp(log_penalty)))

    grid = np.linspace(-8, 5, 60)
    start = grid[np.argmin([risk(x) for x in grid])]
    found = minimize_scalar(risk, bounds=(start - 0.3, start + 0.3), method="bounded", options={"xatol": 1e-9})
    penalty = float(best_student(1.5, 0.8, *teacher, ratio))
    if penalty == 0:
        assert ratio == 1.0 and start == grid[0]
        return
    np.testing.assert_allclose(penalty, np.exp(found.x), rtol=1e-6)
    np.testing.assert_allclose(student_risk(1.5, 0.8, *teacher, ratio, penalty), found.fun, rtol=1e-10)


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_student_wins_only_where_its_teacher_is_under_regularised(ratio):
    best = float(best_teacher(*CELL))
    least = float(teacher_risk(*CELL, best))
    etas = jnp.asarray(np.geomspace(1e-5, 1e3, 60))
    for factor in (0.05, 0.95, 1.0, 1.05, 3.0):
        teacher = float(teacher_risk(*CELL, factor * best))
        students = jax.vmap(lambda eta, own=factor * best: student_risk(*CELL, own, ratio, eta))(etas)
        assert jnp.all(students > least - 1e-12)
        penalty = best_student(*CELL, factor * best, ratio)
        if factor >= 1:
            assert penalty < 1e-14 and jnp.all(students > teacher - 1e-12)
        elif ratio < 1:
            assert penalty > 0 and student_risk(*CELL, factor * best, ratio, penalty) < teacher
