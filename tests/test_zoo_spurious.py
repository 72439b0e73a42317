"""Spurious correlations: textbook least squares, roots and integrals by SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import root
from scipy.stats import norm

from w2s_jax import theory_zoo as zoo
from w2s_jax.theory_zoo import GroupFeatures

CORE, SAME = jnp.zeros((1, 0)), jnp.eye(1)
teacher, student = jax.jit(zoo.spurious_teacher_risk), jax.jit(zoo.spurious_student_risk)
SIZES = (20, 200, 100, 0.7)
"""dim, num_labels, num_pseudo, noise_var."""


def line(minority, shift=2.0, strong=CORE) -> GroupFeatures:
    """Groups that differ along one direction, which the teacher sees."""
    return zoo.gaussian_groups(minority, jnp.array([shift]), SAME, strong)


def plane(minority, angle=np.pi / 3, shift=(1.5, 0.5)) -> GroupFeatures:
    """Groups in a plane: the teacher sees the first direction, the student one at an angle to it."""
    views = np.array([[1.0], [0.0]]), np.array([[np.cos(angle)], [np.sin(angle)]])
    return zoo.gaussian_groups(minority, jnp.array(shift), *map(jnp.asarray, views))


def apart(*shares) -> GroupFeatures:
    """Groups that are named, each with a model of its own."""
    rows = jnp.eye(len(shares))
    return GroupFeatures(rows, rows, jnp.array(shares))


def test_without_group_features_it_is_least_squares():
    one = GroupFeatures(jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.ones(1))
    np.testing.assert_allclose(teacher(one, one, 20, 50, 0.7), 0.7 * 20 / 29, rtol=1e-9)  # the inverse Wishart
    np.testing.assert_allclose(student(one, one, one, 20, 50, 30, 0.7), 0.7 * 20 / 29, rtol=1e-9)
    assert jnp.isinf(teacher(one, one, 20, 21, 0.7)) and jnp.isfinite(teacher(one, one, 20, 22, 0.7))


def test_groups_with_models_of_their_own_are_fits_of_their_own():
    labelled, tested = apart(0.2, 0.5, 0.3), apart(0.6, 0.3, 0.1)
    expected = sum(t * 0.7 * 20 / (200 * share - 21) for t, share in zip((0.6, 0.3, 0.1), (0.2, 0.5, 0.3)))
    np.testing.assert_allclose(teacher(labelled, tested, 20, 200, 0.7), expected, rtol=1e-9)
    assert jnp.isinf(teacher(apart(0.1, 0.9), tested=apart(0.5, 0.5), dim=20, num_labels=200, noise_var=0.7))


def test_scipy_solves_the_equation_with_integrals():
    """One view: G has three numbers, and its integrals run over one normal variable in each group."""
    gamma, minority, shift = 21 / 120, 0.2, 2.0

    def mean(function):
        return sum(
            share * quad(lambda x, m=m: norm.pdf(x - m) * function(x), -12, 14, epsabs=1e-12, limit=200)[0]
            for share, m in ((1 - minority, 0.0), (minority, shift))
        )

    def equation(entries):
        a, b, c = entries

        def share(x):
            return 1 / (1 + gamma * (a + 2 * b * x + c * x * x))

        first, second, third = (mean(lambda x, i=i: x**i * share(x)) for i in range(3))
        product = np.array([[a, b], [b, c]]) @ [[first, second], [second, third]]
        return product[0, 0] - 1, product[0, 1], product[1, 1] - 1

    a, b, c = root(equation, (1.2, -0.3, 0.8), tol=1e-12).x
    for share in (0.0, 0.5, 1.0):
        expected = 20 / 120 * (a + 2 * b * share * shift + c * (1 + share * shift**2))
        np.testing.assert_allclose(teacher(line(minority), line(share), 20, 120, 1.0), expected, rtol=1e-5)


def test_a_student_with_its_teachers_features_is_its_teacher():
    labelled, unlabelled, tested = (line(share, strong=SAME) for share in (0.1, 0.7, 0.5))
    expected = teacher(labelled, tested, 20, 200, 0.7)
    np.testing.assert_allclose(student(labelled, unlabelled, tested, *SIZES), expected, rtol=1e-9)


@pytest.mark.slow
def test_a_core_student_sees_the_mean_and_takes_the_rest_for_noise():
    labelled, sizes = line(0.1), (20, 200)

    def quadratic(vector):  # tr(G v v') is what the teacher's risk is linear in
        rows = jnp.asarray(vector)[None]
        return float(teacher(labelled, GroupFeatures(rows, rows, jnp.ones(1)), *sizes, 0.7))

    for share in (0.0, 0.3, 0.9):
        own = line(share)
        mean = own.weights @ own.weak
        spread = float(teacher(labelled, own, *sizes, 0.7)) - quadratic(mean)
        for size in (50, 100, jnp.inf):
            expected = quadratic(mean) + 20 / (size - 21) * spread
            for test in (0.0, 0.5):  # its risk does not depend on the group
                np.testing.assert_allclose(student(labelled, own, line(test), *sizes, size, 0.7), expected, rtol=1e-7)


def test_few_labels_are_not_needed_in_the_limit():
    """To first order in d/n the sample's second moment is the population's; the rest is a linear projection."""
    labelled, unlabelled, tested = (plane(share) for share in (0.2, 0.6, 0.5))

    def moment(groups, one, other):
        return np.einsum("q,qi,qj->ij", groups.weights, getattr(groups, one), getattr(groups, other))

    n = 1e9
    inverse = np.linalg.inv(moment(labelled, "weak", "weak"))
    expected = np.trace(inverse @ moment(tested, "weak", "weak"))
    np.testing.assert_allclose(n / 20 * teacher(labelled, tested, 20, n, 1.0), expected, rtol=1e-6)
    taken = np.linalg.solve(moment(unlabelled, "strong", "strong"), moment(unlabelled, "strong", "weak"))
    expected = np.trace(taken @ inverse @ taken.T @ moment(tested, "strong", "strong"))
    np.testing.assert_allclose(n / 20 * student(labelled, unlabelled, tested, 20, n, jnp.inf, 1.0), expected, rtol=1e-6)


def test_endless_pseudo_labels_from_the_test_never_hurt():
    for share in (0.05, 0.5, 1.0):
        for angle in (0.3, 1.2, np.pi / 2):
            labelled, tested = plane(0.1, angle), plane(share, angle)
            assert student(labelled, tested, tested, 20, 200, jnp.inf, 1.0) < teacher(labelled, tested, 20, 200, 1.0)


def test_a_student_that_sees_more_of_the_group_can_lose_in_balance():
    """No minority among labels and pseudo-labels alike, and a view of the shift that the teacher does not have."""
    labelled, tested = (plane(share, np.pi / 4, (0.0, 3.0)) for share in (0.0, 0.5))
    own = student(labelled, labelled, tested, 20, 400, jnp.inf, 1.0)
    assert own > 1.2 * teacher(labelled, tested, 20, 400, 1.0)


@pytest.mark.slow
def test_nodes_are_enough():
    views = jnp.array([1.5, 0.5]), jnp.array([[1.0], [0.0]]), jnp.array([[0.6], [0.8]])
    few, many = ([zoo.gaussian_groups(s, *views, num_nodes=n) for s in (0.2, 0.6, 0.5)] for n in (16, 28))
    np.testing.assert_allclose(student(*few, *SIZES), student(*many, *SIZES), rtol=1e-5)
