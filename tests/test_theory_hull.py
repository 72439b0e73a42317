"""Least squares over the hull of the concepts: population solution and large-sample risk, against a plain solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from sims.checks.draws import weak_moments
from tests.helpers import assert_mean_sharply
from tests.test_theory_population import in_random_frame, written_task
from w2s_jax import theory
from w2s_jax.hull import hull_least_squares
from w2s_jax.tasks import WEAKNESSES
from w2s_jax.theory.hull import intrinsic_volumes
from w2s_jax.types import Moments

forms = jax.jit(
    lambda task: {name: getattr(theory, name)(task) for name in ("hull_weights", "hull_bias", "hull_misfit")}
)
hull_risk = jax.jit(theory.hull_risk)
weak_bias = jax.jit(theory.weak_bias)
SCALE, NOISE_VAR = 0.7, 0.25
EVEN = jnp.array([0.3, 0.3, 0.2, 0.2])


@jax.jit
def kernel(feature_var, weak_coef, concepts):
    """The weights that the kernel finds on population moments: gram s I, cross s beta_w."""
    return hull_least_squares(Moments(jnp.diag(feature_var), feature_var * weak_coef, jnp.asarray(1.0)), concepts)


def example(weakness="rotated", accuracy=0.7):
    return in_random_frame(written_task(4, 5, accuracy, 0.5, NOISE_VAR, weakness), SCALE)


def with_coordinates(coordinates, outside=0.0):
    """A one-concept teacher with the given inner products with the concepts, and a part outside of their span."""
    task = example("noisy", 1.0)
    concepts = np.asarray(task.concepts)
    beyond = np.linalg.svd(concepts)[2][-1]
    weak = np.asarray(coordinates) @ concepts + outside * beyond
    return task._replace(weak_concepts=jnp.asarray([weak, *np.asarray(task.weak_concepts)[1:]]))


KNOWN = {1: 0.0, 2: 1 / 2, 3: 5 / 6, 4: 1.0877398280, 8: 1.7591943072, 16: 2.5074951158, 64: 4.2010110991}


def test_statistical_dimension_has_its_known_values():
    for num_concepts, value in KNOWN.items():
        np.testing.assert_allclose(theory.hull_statistical_dimension(num_concepts), value, rtol=1e-10)


def test_intrinsic_volumes_are_a_distribution_and_alternate():
    """They sum to 1, and by the theorem of Gauss and Bonnet the even ones sum to 1/2."""
    for num_concepts in (2, 5, 64):
        volumes = intrinsic_volumes(num_concepts)
        assert np.all(volumes >= 0)
        np.testing.assert_allclose([volumes.sum(), volumes[::2].sum()], [1, 0.5], rtol=1e-11)


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_hull_weights_minimise_over_the_simplex(weakness):
    """By SciPy, and by the kernel.

    The gain is the misfit, and more where `confused` gives up the target at a small accuracy (an obtuse angle).
    """
    for accuracy in (0.05, 0.25, 0.6, 0.9):
        task = example(weakness, accuracy)
        concepts, weak = np.asarray(task.concepts), np.asarray(task.weak_concepts)[0]
        got = forms(task)

        def loss(w, gram=concepts @ concepts.T, pull=concepts @ weak):
            return w @ gram @ w - 2 * w @ pull, 2 * (gram @ w - pull)

        whole = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
        options = {"method": "SLSQP", "bounds": [(0, 1)] * 4, "constraints": whole, "options": {"ftol": 1e-15}}
        found = minimize(loss, np.full(4, 0.25), jac=True, **options)
        least = found.fun + weak @ weak
        np.testing.assert_allclose(got["hull_weights"], found.x, atol=2e-6)
        np.testing.assert_allclose(got["hull_weights"].sum(), 1, rtol=1e-12)
        np.testing.assert_allclose(got["hull_misfit"], SCALE * least, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(kernel(task.feature_var, weak, concepts), got["hull_weights"], atol=1e-9)
        bias = SCALE * np.sum((np.asarray(got["hull_weights"]) @ concepts - concepts[0]) ** 2)
        np.testing.assert_allclose(got["hull_bias"], bias, rtol=1e-9, atol=1e-14)
        surplus, side = float(weak_bias(task) - bias - got["hull_misfit"]), np.sqrt((1 - accuracy**2) / 3)
        lost = weakness == "confused" and 3 * (side - accuracy) > 1
        assert (surplus > 0.01 and got["hull_weights"][0] == 0) if lost else abs(surplus) < 1e-12


def project(rows):
    """Euclidean projection of each row on the simplex."""
    sums = np.cumsum(-np.sort(-rows, axis=1), axis=1)
    level = np.max((sums - 1) / np.arange(1, rows.shape[1] + 1), axis=1, keepdims=True)
    return np.maximum(rows - level, 0)


def simulate(task, n, count, seed):
    """Weights of the hull estimate on `count` samples of n weak labels, by projected gradient; n is large."""
    gram, cross, _ = weak_moments(jax.random.key(seed), task, n, count)
    concepts, scale = np.asarray(task.concepts), float(task.feature_var[0])
    gram, cross = concepts @ gram @ concepts.T, cross @ concepts.T
    w = np.full_like(cross, 1 / len(concepts))
    for _ in range(30):  # the gram is close to scale I: a contraction
        w = project(w - ((gram @ w[..., None])[..., 0] - cross) / scale)
    return w


CASES = {
    "rotated": lambda: example("rotated"),
    "noisy": lambda: example("noisy", 0.5),
    "perfect": lambda: example("rotated", 1.0),
    "shifted": lambda: example("shifted", 0.7),
    "opposed": lambda: example("opposed", 0.9),
    "confused, target lost": lambda: example("confused", 0.05),
    "an edge": lambda: with_coordinates([0.9, 0.5, -0.4, -0.5], outside=0.5),
    "a vertex, pushed": lambda: with_coordinates([1.3, 0.3, 0.3, 0.3], outside=0.4),
    "mixture": lambda: example("noisy", 1.0)._replace(target_prior=EVEN, weak_prior=EVEN),
    "rotated mixture": lambda: example("rotated", 0.2)._replace(weak_prior=jnp.asarray([0.7, 0.3, 0.0, 0.0])),
}
SIMULATED = ("rotated", "perfect", "shifted", "opposed", "mixture")
"""Those that `sims/checks/students.py` draws with the kernel, or alike; their stated forms are below."""


@pytest.mark.parametrize("name", [name for name in CASES if name not in SIMULATED])
def test_hull_risk_at_large_n(name):
    """n (E R - bias) is n times the mean squared distance from the population solution: the cross term has mean 0."""
    task, n, count = CASES[name](), 2000, 30_000
    got = forms(task)
    w = simulate(task, n, count, seed=len(name))
    offset = w - np.asarray(got["hull_weights"])
    assert_mean_sharply(n * SCALE * np.sum(offset**2, -1), n * (hull_risk(task, n) - got["hull_bias"]))
    pull = np.asarray(got["hull_weights"] - task.target_prior)
    cross = 2 * n * SCALE * offset @ pull
    assert abs(cross.mean()) < 5 * cross.std() / np.sqrt(count) + 1e-9


def test_hull_risk_has_its_stated_forms():
    n, tau = 10**8, 1 - (0.09 + 0.09 + 0.04 + 0.04)
    lost = CASES["confused, target lost"]()
    expected = {
        "rotated": 3 * (NOISE_VAR + SCALE * (1 - 0.49 + 0.09 / 4)),
        "noisy": KNOWN[4] * NOISE_VAR / 0.25,
        "perfect": KNOWN[4] * NOISE_VAR,
        "shifted": KNOWN[4] * (NOISE_VAR + SCALE * (1 / 0.49 - 1)),
        "mixture": 3 * (NOISE_VAR + SCALE * tau) + 2 * SCALE * tau,
        "confused, target lost": 2 * (NOISE_VAR + float(forms(lost)["hull_misfit"])),
        "opposed": 0.0,  # every rival is strictly out: found but for an exponentially small chance
    }
    for name, value in expected.items():
        task = CASES[name]()
        np.testing.assert_allclose(n * (hull_risk(task, n) - forms(task)["hull_bias"]), value, rtol=1e-6)


def test_undecided_faces_have_no_value():
    half_in = with_coordinates([0.8, 0.2, 0.0, -0.5])  # the third concept is only just out
    elsewhere = with_coordinates([0.0, 1.0, 0.0, 0.0])  # at a degenerate vertex that is not the target
    spread = example("noisy", 1.0)
    away = np.asarray(spread.concepts)
    both = np.stack([1.5 * away[0] - 0.5 * away[1], 0.5 * away[0] + 0.5 * away[1], away[2], away[3]])
    mixed = spread._replace(weak_concepts=jnp.asarray(both), weak_prior=jnp.asarray([0.5, 0.5, 0.0, 0.0]))
    for task in (half_in, elsewhere, mixed):
        assert jnp.isnan(hull_risk(task, 100))
