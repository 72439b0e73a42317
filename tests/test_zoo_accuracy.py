"""Naive fine-tuning in the metric of accuracy: orthants, quadrature, a flow and optima by SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar
from scipy.special import expit
from scipy.stats import multivariate_normal

from w2s_jax import theory_zoo as zoo

SETTINGS = [(0.8, 0.7, 0.66), (0.65, 0.75, 0.55), (0.9, 0.6, 0.58), (0.6, 0.62, 0.9), (0.95, 0.55, 0.55)]
tuned, best, gain = (jax.jit(f) for f in (zoo.tuned_accuracy, zoo.best_accuracy, zoo.first_gain))


def directions(start, teacher, agreement):
    """Unit vectors with these accuracies and this agreement; the truth is the first axis."""
    near, far, apart = (np.pi * (1 - share) for share in (start, teacher, agreement))
    b = np.array([np.cos(near), np.sin(near), 0.0])
    along = (np.cos(apart) - np.cos(near) * np.cos(far)) / np.sin(near)
    return b, np.array([np.cos(far), along, np.sqrt(max(np.sin(far) ** 2 - along**2, 0.0))])


def share(one, other):
    """Share of inputs on which two half-spaces agree, by the bivariate normal distribution."""
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    return 2 * multivariate_normal.cdf([0.0, 0.0], cov=[[1.0, cosine], [cosine, 1.0]], allow_singular=True)


@pytest.mark.parametrize("cosine", [-0.95, -0.3, 0.2, 0.8])
def test_an_accuracy_is_an_orthant_of_the_normal_distribution(cosine):
    one, other = np.array([1.0, 0.0]), np.array([cosine, np.sqrt(1 - cosine**2)])
    accuracy = zoo.accuracy_of_cosine(cosine)
    np.testing.assert_allclose(accuracy, share(one, other), rtol=1e-7)
    np.testing.assert_allclose(zoo.cosine_of_accuracy(accuracy), cosine, rtol=1e-12)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_path_lies_between_the_directions_of_start_and_teacher(setting):
    b, t = directions(*setting)
    np.testing.assert_allclose(share(b, t), setting[2], rtol=1e-6)
    for weight in (0.0, 0.2, 0.5, 0.9, 1.0):
        student = (1 - weight) * b + weight * t
        progress = np.clip(1 - (1 - share(student, t)) / (1 - setting[2]), 0, 1)
        expected = share(student, np.eye(3)[0])
        np.testing.assert_allclose(tuned(*setting, progress), expected, rtol=1e-6, err_msg=str(weight))


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("setting", SETTINGS[:2])
def test_the_flow_of_the_logistic_loss_takes_this_path(setting, hard):
    """The gradient itself by quadrature in the plane of start and teacher; labels are soft, or the teacher's signs."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    x = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
    mass = np.outer(weights, weights).reshape(-1) / (2 * np.pi)
    apart = np.pi * (1 - setting[2])
    start, teacher = np.array([1.0, 0.0]), np.array([np.cos(apart), np.sin(apart)])
    labels = (x @ teacher > 0) if hard else expit(2 * x @ teacher)

    def flow(_, w):
        return -(mass * (expit(x @ w) - labels)) @ x

    found = solve_ivp(flow, (0, 12), 1.5 * start, t_eval=np.linspace(0, 12, 13), rtol=1e-8, atol=1e-10)
    angles = np.arctan2(found.y[1], found.y[0])
    assert (np.diff(angles) > 0).all() and angles[-1] > 0.6 * apart
    b, t = directions(*setting)
    third = (t - (t @ b) * b) / np.linalg.norm(t - (t @ b) * b)  # the plane in three dimensions
    for w, angle in zip(found.y.T, angles):
        student = w[0] * b + w[1] * third
        np.testing.assert_allclose(tuned(*setting, angle / apart), share(student, np.eye(3)[0]), rtol=1e-6)


@pytest.mark.parametrize("setting", SETTINGS)
def test_scipy_finds_the_best_student(setting):
    search = {"bounds": (0, 1), "method": "bounded", "options": {"xatol": 1e-10}}
    found = minimize_scalar(lambda f: -float(tuned(*setting, f)), **search)
    ours = best(*setting)
    ends = [float(tuned(*setting, end)) for end in (0.0, 1.0)]
    np.testing.assert_allclose(ours.accuracy, max(-found.fun, *ends), rtol=1e-8)
    if 1e-3 < found.x < 1 - 1e-3:
        np.testing.assert_allclose(ours.progress, found.x, atol=1e-6)
    else:
        assert float(ours.progress) == np.argmax(ends)
    c_b, c_t, c = (-np.cos(np.pi * p) for p in setting)
    assert (float(gain(*setting)) > 0) == (c_t > c_b * c)
    if c_b > 0:
        assert (float(ours.accuracy) > ends[0] + 1e-9) == (c_t > c_b * c)
    if c_t > c_b * c and c_b > c_t * c:
        square = (c_b**2 + c_t**2 - 2 * c_b * c_t * c) / (1 - c**2)
        np.testing.assert_allclose(zoo.cosine_of_accuracy(ours.accuracy) ** 2, square, rtol=1e-9)
        assert float(ours.accuracy) > max(ends)


def test_unrelated_errors_always_help():
    start, teacher = jnp.asarray(np.random.default_rng(0).uniform(0.51, 0.99, (2, 40)))
    agreement, (low, high) = zoo.unrelated_agreement(start, teacher), zoo.agreement_range(start, teacher)
    assert np.all((low < agreement) & (agreement < high)) and np.all(gain(start, teacher, agreement) > 0)
    assert np.all(best(start, teacher, agreement).accuracy > jnp.maximum(start, teacher))


def test_agreement_is_within_what_accuracies_allow_and_reaches_it():
    inputs, seen = 6, {}
    patterns = np.array(np.meshgrid(*[[0, 1]] * inputs)).reshape(inputs, -1).T  # which inputs a classifier has right
    for one in patterns:
        for other in patterns:
            seen.setdefault((one.mean(), other.mean()), []).append((one == other).mean())
    for (one, other), rates in seen.items():
        np.testing.assert_allclose(zoo.agreement_range(one, other), (min(rates), max(rates)), atol=1e-12)


def test_a_teacher_that_agrees_everywhere_moves_nothing():
    same = (0.7, 0.7, 1.0)
    assert float(tuned(*same, 0.5)) == pytest.approx(0.7) and float(gain(*same)) == 0
    assert tuple(best(*same)) == (pytest.approx(0.7), 0.0)
