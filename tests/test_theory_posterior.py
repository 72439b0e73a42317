"""The exponent of the concept posterior: against a minimiser of its moment generating function, by quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from tests.test_theory_population import in_random_frame, written_task
from w2s_jax import theory
from w2s_jax.tasks import WEAKNESSES

exponents = jax.jit(theory.posterior_exponents, static_argnames="prompts")
balanced = jax.jit(theory.balanced_noise_var)
smallest = jax.jit(theory.posterior_exponent, static_argnames="prompts")


def oblique_task():
    """Concepts of unequal lengths and angles, a teacher off their span: nothing is symmetric."""
    task = written_task(3, 4, 0.8, 0.5)
    concepts = np.array([[1.0, 0.2, 0.0, 0.0], [0.3, 0.9, 0.1, 0.0], [-0.4, 0.1, 1.3, 0.2]])
    weak = concepts.copy()
    weak[0] = [0.8, 0.4, 0.2, 0.3]
    changes = {"concepts": concepts, "weak_concepts": weak, "feature_var": np.full(4, 0.6)}
    return task._replace(**{name: jnp.asarray(x) for name, x in changes.items()})


def log_mgf(task, rival, tilt, noise_var):
    """log E exp(tilt X Z/s_hat^2) by quadrature over X, Z being gaussian given X."""
    scale = float(task.feature_var[0])
    concepts, weak = np.asarray(task.concepts), np.asarray(task.weak_concepts)[0]
    delta = concepts[rival] - concepts[0]
    offset = weak - (concepts[rival] + concepts[0]) / 2
    variance = scale * delta @ delta
    slope = scale * delta @ offset / variance
    rest = scale * offset @ offset - slope**2 * variance + float(task.weak_noise_var)
    u = tilt / noise_var
    curvature = 1 / variance - 2 * u * slope - u**2 * rest  # of the integrand's exponent in X
    if curvature <= 0:
        return np.inf
    width = 1 / np.sqrt(curvature)
    x = np.linspace(-10 * width, 10 * width, 101)  # the trapezoid rule converges exponentially here
    value = np.sum(np.exp(-(x**2) * curvature / 2)) * (x[1] - x[0])
    return np.log(value / np.sqrt(2 * np.pi * variance))


def least(cost, limit):
    """The least value of a convex function on [0, limit], or as far as it is finite, and where it is."""
    while np.isinf(cost(limit)):
        limit *= 0.98
    found = minimize_scalar(cost, bounds=(0, limit), method="bounded", options={"xatol": 1e-10})
    return min((cost(t), t) for t in (0.0, found.x, limit))


@pytest.mark.parametrize("prompts", ["fresh", "shared"])
@pytest.mark.parametrize("ratio", [0.05, 12.0])
@pytest.mark.parametrize("weakness", [*WEAKNESSES, "oblique"])
def test_exponent_is_the_minimum_of_the_moment_generating_function(weakness, ratio, prompts):
    task = oblique_task() if weakness == "oblique" else written_task(3, 4, 0.7, 0.5, weakness=weakness)
    noise_var, limit = ratio * float(task.noise_var), {"fresh": 1.0, "shared": 2.0}[prompts]
    got = exponents(task, assumed_noise_var=noise_var, prompts=prompts)
    for rival in (1, 2):

        def cost(t, rival=rival):
            return log_mgf(task, rival, t, noise_var)

        value, tilt = least(cost, limit)
        np.testing.assert_allclose(got.exponent[rival], -value, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(min(got.tilt[rival], limit), tilt, atol=1e-4)
    assert jnp.isinf(got.exponent[0]) and got.tilt[0] == 0
    alone = smallest(task, assumed_noise_var=noise_var, prompts=prompts)
    np.testing.assert_allclose(alone, got.exponent.min(), rtol=1e-12)


def test_refinement_fails_where_a_rival_is_as_near():
    """Confused: the target is strictly nearest iff a > 1/sqrt(K)."""
    for accuracy, escapes in ((0.3, False), (0.49, False), (0.51, True), (0.9, True)):
        task = written_task(num_concepts=4, dim=6, weak_accuracy=accuracy, concept_shift=0.5, weakness="confused")
        assert (float(exponents(task).exponent.min()) > 0) == escapes


def test_assumed_noise_costs_nothing_up_to_the_tilt_limit():
    # Effective noise 1.
    task = written_task(num_concepts=2, dim=3, weak_accuracy=0.5, concept_shift=0.5, weakness="noisy")
    full = smallest(task)
    for noise_var, fresh, shared in ((0.1, True, True), (1.9, True, True), (2.1, False, True), (4.1, False, False)):
        got = {p: float(smallest(task, assumed_noise_var=noise_var, prompts=p)) for p in ("fresh", "shared")}
        assert (got["fresh"] > full * (1 - 1e-12)) == fresh
        assert (got["shared"] > full * (1 - 1e-12)) == shared
        assert got["shared"] >= got["fresh"]


def test_balanced_noise_puts_the_tilt_at_one_half():
    for weakness in ("rotated", "opposed", "shifted"):
        task = in_random_frame(written_task(3, 4, 0.6, 0.5, weakness=weakness), 0.7)
        got = exponents(task, assumed_noise_var=balanced(task, 0.5))
        np.testing.assert_allclose(got.tilt[1], 0.5, rtol=1e-12)
        np.testing.assert_allclose(got.exponent[1], exponents(task).exponent[1], rtol=1e-12)
    oblique = oblique_task()
    got = exponents(oblique, assumed_noise_var=balanced(oblique, 0.3))
    np.testing.assert_allclose(got.tilt[jnp.argmin(got.exponent)], 0.3, rtol=1e-12)


def test_noise_free_limits():
    """No noise at all: a perfect teacher settles it in one example; a rotated one still leaves a finite exponent."""
    perfect = written_task(num_concepts=2, dim=3, weak_accuracy=1.0, concept_shift=0.5, noise_var=0.0)
    rotated = written_task(num_concepts=2, dim=3, weak_accuracy=0.5, concept_shift=0.5, noise_var=0.0)
    assert jnp.isinf(smallest(perfect))
    np.testing.assert_allclose(smallest(rotated), 0.5 * np.log(2 / 1.75), rtol=1e-10)


def test_uniform_exponent():
    """Against quadrature over the triangular distribution of the difference of two features."""
    task = written_task(num_concepts=2, dim=3, weak_accuracy=0.4, concept_shift=0.5, noise_var=0.1, weakness="noisy")
    noise_var = float(task.weak_noise_var)
    exponent = jax.jit(theory.uniform_posterior_exponent)(task)
    integral = quad(lambda x: (2 - x) / 2 * np.exp(-(x**2) / (8 * noise_var)), 0, 2, epsrel=1e-12)[0]
    np.testing.assert_allclose(exponent, -np.log(integral), rtol=1e-10)
