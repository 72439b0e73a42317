"""Surrogate to target: roots and minima by SciPy, and exact special cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from w2s_jax import theory_zoo as zoo

DIM, NUM = 24, 9
LAM = jnp.asarray(np.arange(1.0, DIM + 1) ** -1.5)
TARGET = jnp.asarray(np.random.default_rng(3).normal(size=DIM))
shares, risk, best = map(jax.jit, (zoo.surrogate_shares, zoo.surrogate_risk, zoo.best_surrogate))
student, teacher = map(jax.jit, (zoo.masked_student_risk, zoo.masked_teacher_risk))


def power_laws(dim):
    """lambda_i = i^-2 and lambda_i beta*_i^2 = i^-1.5."""
    index = np.arange(1.0, dim + 1)
    return jnp.asarray(index**-2), jnp.asarray(index**0.25)


@pytest.mark.parametrize("n", [0.5, 9, 23.9])
def test_shares_have_the_root_that_scipy_finds(n):
    lam = np.asarray(LAM)
    tau = brentq(lambda tau: np.sum(lam / (lam + tau)) - n, 0, 100, xtol=1e-300, rtol=1e-14)
    learned, overlap = shares(LAM, n)
    np.testing.assert_allclose(learned, lam / (lam + tau), rtol=1e-10)
    np.testing.assert_allclose(overlap, np.sum((lam / (lam + tau)) ** 2) / n, rtol=1e-10)


def test_shares_of_a_spectrum_over_many_decades():
    lam = 10.0 ** np.linspace(-12, 12, DIM)
    learned = np.asarray(shares(jnp.asarray(lam), NUM).shares)
    np.testing.assert_allclose(learned.sum(), NUM, rtol=1e-10)
    tau = lam * (1 - learned) / learned
    np.testing.assert_allclose(tau[4:18], tau[9], rtol=1e-3)  # of 1 - share few digits are left at the ends


def test_everything_is_learned_from_enough_examples():
    for n in (DIM, DIM + 7):
        np.testing.assert_array_equal(shares(LAM, n).shares, np.ones(DIM))
        np.testing.assert_array_equal(zoo.best_surrogate_mask(LAM, n), np.ones(DIM, bool))
        np.testing.assert_allclose(best(LAM, TARGET, n), TARGET, rtol=1e-12)
    distance = np.sum(np.asarray(LAM) * (0.5 * np.asarray(TARGET)) ** 2)
    np.testing.assert_allclose(risk(LAM, 0.5 * TARGET, TARGET, 35, 2.0), distance + 2.0 * 24 / 10, rtol=1e-10)
    assert all(jnp.isinf(risk(LAM, TARGET, TARGET, n, 1.0)) for n in (24, 25))
    np.testing.assert_allclose(risk(LAM, 0.5 * TARGET, TARGET, 24, 0.0), distance, rtol=1e-10)


def test_equal_variances_leave_nothing_to_gain():
    """The mean projection is n/p exactly, so that the formula is exact but for its noise, which has p - n - 1."""
    lam, surrogate, n = 0.3 * jnp.ones(DIM), jnp.asarray(np.random.default_rng(4).normal(size=DIM)), NUM
    b, t = np.asarray(surrogate), np.asarray(TARGET)
    signal = 0.3 * (t @ t + n / DIM * (b @ b - 2 * b @ t))
    expected = signal + 0.7 * n / (DIM - n)
    np.testing.assert_allclose(risk(lam, surrogate, TARGET, n, 0.7), expected, rtol=1e-10)
    np.testing.assert_allclose(best(lam, TARGET, n), TARGET, rtol=1e-10)
    assert zoo.best_surrogate_mask(lam, n).all()


def test_risk_of_the_truth_is_that_of_ridgeless_regression():
    """The usual form of it: (bias + noise)/(1 - Omega) - noise."""
    learned, overlap = (np.asarray(x) for x in shares(LAM, NUM))
    bias = np.sum(np.asarray(LAM) * ((1 - learned) * np.asarray(TARGET)) ** 2)
    expected = (bias + 0.7) / (1 - overlap) - 0.7
    np.testing.assert_allclose(risk(LAM, TARGET, TARGET, NUM, 0.7), expected, rtol=1e-10)


def test_scipy_finds_the_best_surrogate():
    value_and_grad = jax.jit(jax.value_and_grad(lambda b: risk(LAM, b, TARGET, NUM, 0.1)))
    found = minimize(value_and_grad, np.zeros(DIM), jac=True, method="BFGS", options={"gtol": 1e-11})
    optimal = best(LAM, TARGET, NUM)
    np.testing.assert_allclose(optimal, found.x, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(risk(LAM, optimal, TARGET, NUM, 0.1), found.fun, rtol=1e-10)
    learned, overlap = (np.asarray(x) for x in shares(LAM, NUM))
    np.testing.assert_array_equal(np.abs(optimal) > np.abs(TARGET), learned > overlap)  # amplified


def test_the_best_mask_is_the_best_of_all():
    lam, target = LAM[::4], TARGET[::4]
    masks = np.array(np.meshgrid(*[[0.0, 1.0]] * 6, indexing="ij")).reshape(6, -1).T
    risks = jax.vmap(lambda mask: risk(lam, mask * target, target, 3, 0.1))(jnp.asarray(masks))
    chosen = zoo.best_surrogate_mask(lam, 3)
    assert not chosen.all()
    np.testing.assert_array_equal(masks[np.argmin(risks)], chosen)
    masked = risk(lam, chosen * target, target, 3, 0.1)
    assert risk(lam, best(lam, target, 3), target, 3, 0.1) < masked < risk(lam, target, target, 3, 0.1)


def test_a_better_surrogate_does_not_change_the_scaling_law():
    """lambda_i = i^-2, lambda_i beta*_i^2 = i^-1.5: risks fall as n^-1/2, with a smaller constant."""
    dim = 100_000
    lam, target = power_laws(dim)
    sizes = np.array([100, 200, 400])
    true = np.array([float(risk(lam, target, target, n, 0.0)) for n in sizes])
    least = np.array([float(risk(lam, best(lam, target, n), target, n, 0.0)) for n in sizes])
    assert np.all(least < 0.85 * true)
    for risks in (true, least):  # less what no n reaches at this p: sum_{i > p} i^-1.5
        slope = np.polyfit(np.log(sizes), np.log(risks + 2 / np.sqrt(dim)), 1)[0]
        assert abs(slope + 0.5) < 0.02


def test_a_student_of_enough_pseudo_labels_is_its_teacher():
    mask = jnp.arange(DIM) % 3 > 0
    weak = teacher(LAM, TARGET, mask, 30, 0.5)
    np.testing.assert_allclose(student(LAM, TARGET, mask, 30, 40, 0.5), weak, rtol=1e-10)
    hidden = np.sum(np.asarray(LAM * TARGET**2)[::3])
    np.testing.assert_allclose(weak, hidden + (0.5 + hidden) * 16 / 13, rtol=1e-10)


def test_a_teacher_of_endless_labels_is_a_masked_truth():
    mask = jnp.arange(DIM) < 5
    expected = risk(LAM, jnp.where(mask, TARGET, 0.0), TARGET, NUM, 0.0)
    np.testing.assert_allclose(student(LAM, TARGET, mask, 1e14, NUM, 0.5), expected, rtol=1e-10)
    assert jnp.isinf(student(LAM, TARGET, mask, 6, NUM, 0.5)) and jnp.isinf(teacher(LAM, TARGET, mask, 6, 0.5))


def test_a_weak_teacher_may_beat_true_labels():
    """Fitted on noisy labels of few features, and yet better to learn from than the truth itself."""
    lam, target = power_laws(DIM)
    mask = zoo.best_surrogate_mask(lam, NUM)
    assert student(lam, target, mask, 4000, NUM, 0.01) < risk(lam, target, target, NUM, 0.01)
