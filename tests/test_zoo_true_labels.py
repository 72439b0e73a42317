"""Weak labels with some true ones: orthants by SciPy, a student by scikit-learn."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tests.test_zoo_accuracy import share as agreement
from w2s_jax import theory_zoo as zoo

mixed = jax.jit(zoo.mixed_label_student)


@pytest.mark.parametrize("seen", [3, 5])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_measured_students_foretell_the_mixed_one(seen, share):
    truth, teacher = np.random.default_rng(seen).standard_normal((2, 5))
    truth, teacher = truth / np.linalg.norm(truth), teacher / np.linalg.norm(teacher)
    teacher = teacher if truth[:seen] @ teacher[:seen] > 0 else -teacher
    shown = np.arange(5) < seen
    ceiling, naive, student = shown * truth, shown * teacher, shown * (share * truth + (1 - share) * teacher)
    found = mixed(share, *(agreement(*pair) for pair in ((ceiling, truth), (naive, truth), (naive, teacher))))
    np.testing.assert_allclose(found, [agreement(student, truth), agreement(student, teacher)], rtol=1e-6)


def test_sklearn_fits_this_student():
    rng = np.random.default_rng(0)
    truth, teacher = np.array([0.9, 0.0, np.sqrt(0.19)]), np.array([0.5, np.sqrt(0.75), 0.0])
    x = rng.standard_normal((200_000, 3))
    labels = np.where(rng.random(len(x)) < 0.4, x @ truth > 0, x @ teacher > 0)
    student = np.zeros(3)
    student[:2] = LogisticRegression(C=np.inf, fit_intercept=False).fit(x[:, :2], labels).coef_[0]
    found = mixed(0.4, *(zoo.accuracy_of_cosine(c) for c in (0.9, 0.45)))
    np.testing.assert_allclose(found, [agreement(student, truth), agreement(student, teacher)], atol=2e-3)


def test_the_curve_runs_from_the_naive_student_to_the_ceiling():
    shares = jnp.linspace(0, 1, 21)
    for ceiling, naive, seen in itertools.product((0.7, 0.9), (0.5, 0.65), (0.8, 1.0)):
        found = mixed(shares, ceiling, naive, seen)
        np.testing.assert_allclose(found.accuracy[jnp.array([0, -1])], [naive, ceiling], rtol=1e-9)
        np.testing.assert_allclose(found.agreement[0], seen, rtol=1e-6)
        assert (jnp.diff(found.accuracy) > 0).all() and (jnp.diff(found.agreement) < 0).all()
