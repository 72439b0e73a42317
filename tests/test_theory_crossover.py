"""The crossover in prompt length, and the Lambert function behind it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import lambertw

from tests.test_theory_population import written_task
from w2s_jax import theory
from w2s_jax.tasks import WEAKNESSES, make_task

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
DIM = 5
"""Of every task: there is one program for each number of concepts, and a crossover compiles for seconds."""
floor_of = jax.jit(theory.population_ridge_floor)
crossover = jax.jit(theory.refinement_crossover, static_argnames="prompts")
sharp = jax.jit(theory.refinement_crossover_asymptotic, static_argnames="prompts")
asymptotic = jax.jit(theory.misalignment_asymptotic, static_argnames="prompts")
exact = jax.jit(theory.misalignment, static_argnames="prompts")


def test_lambert_w_matches_scipy():
    lambert = jax.jit(jax.vmap(theory.lambert_w))
    x = np.concatenate([[0.0], np.geomspace(1e-12, 1e250, 400)])
    np.testing.assert_allclose(lambert(jnp.asarray(x)), lambertw(x).real, rtol=1e-13)
    single = lambert(np.geomspace(1e-6, 1e30, 100).astype(np.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, lambertw(np.geomspace(1e-6, 1e30, 100)).real, rtol=1e-5)
    slope = jax.jit(jax.grad(theory.lambert_w))(2.0)
    w = lambertw(2.0).real
    np.testing.assert_allclose(slope, w / (2.0 * (1 + w)), rtol=1e-10)


@pytest.mark.parametrize("prompts", ["shared", "fresh"])
@pytest.mark.parametrize("weakness", [w for w in WEAKNESSES if w != "noisy"])
def test_crossover_is_where_the_sharp_form_meets_the_floor(weakness, prompts):
    for scale in (1.0, 0.5):
        task = written_task(num_concepts=4, dim=DIM, weak_accuracy=0.75, concept_shift=0.3, weakness=weakness)
        task = task._replace(feature_var=jnp.asarray(np.full(DIM, scale)))
        floor = float(floor_of(task)) / scale
        found = brentq(lambda n, task=task, floor=floor: float(asymptotic(task, n, prompts)) - floor, 1e-4, 1e3)
        np.testing.assert_allclose(sharp(task, prompts), found, rtol=1e-8)


@pytest.mark.parametrize("prompts", ["shared", "fresh"])
@pytest.mark.parametrize("num_concepts", [2, 4])
@pytest.mark.parametrize("weakness", [w for w in WEAKNESSES if w != "noisy"])
def test_crossover_is_where_the_misalignment_meets_the_floor(weakness, num_concepts, prompts):
    task = written_task(
        num_concepts=num_concepts, dim=DIM, weak_accuracy=0.75, concept_shift=0.05, weakness=weakness, noise_var=0.5
    )
    task = task._replace(feature_var=jnp.asarray(np.full(DIM, 0.5)))
    floor, n = float(floor_of(task)) / 0.5, float(crossover(task, prompts))
    assert 0.5 < n < sharp(task, prompts)
    np.testing.assert_allclose(exact(task, n, prompts), floor, rtol=1e-9)


def test_ends_of_the_range():
    """Under half an example; and under a floor of 1e-4, the sharp form for K > 2."""
    easy = written_task(num_concepts=2, dim=DIM, weak_accuracy=0.7, concept_shift=0.3, noise_var=0.5)
    assert crossover(easy, "fresh") == 0.5
    near = written_task(num_concepts=4, dim=DIM, weak_accuracy=0.9999, concept_shift=0.01)
    assert crossover(near, "shared") == sharp(near, "shared") > 1


@pytest.mark.parametrize("num_concepts", [2, 3])
def test_the_derivative_is_that_of_an_implicit_function(num_concepts):
    def length(accuracy, noise_var):
        task = make_task(
            num_concepts=num_concepts,
            dim=DIM,
            weak_accuracy=accuracy,
            concept_shift=0.4,
            noise_var=noise_var,
            weakness="shifted",
        )
        return theory.refinement_crossover(task, "shared", assumed_noise_var=2 * noise_var)

    fast, step = jax.jit(jax.value_and_grad(length, argnums=(0, 1))), 1e-4
    expected = [
        (fast(0.7 + a, 0.25 + v)[0] - fast(0.7 - a, 0.25 - v)[0]) / (2 * step) for a, v in ((step, 0), (0, step))
    ]
    np.testing.assert_allclose(fast(0.7, 0.25)[1], expected, rtol=1e-3)


def test_no_crossover_where_there_is_no_floor_or_no_escape():
    noisy = written_task(num_concepts=4, dim=DIM, weak_accuracy=0.5, concept_shift=0.3, weakness="noisy")
    lost = written_task(num_concepts=4, dim=DIM, weak_accuracy=0.4, concept_shift=0.3, weakness="confused")
    for prompts in ("shared", "fresh"):
        for length in (crossover, sharp):
            assert jnp.isinf(length(noisy, prompts))
            assert jnp.isinf(length(lost, prompts))
    few = written_task(num_concepts=3, dim=4, weak_accuracy=0.5, concept_shift=0.3, weakness="noisy")
    loud = few._replace(weak_concepts=jnp.asarray(1.1 * np.asarray(few.weak_concepts)))
    assert jnp.isnan(sharp(loud, "fresh", assumed_noise_var=9.0))


@pytest.mark.parametrize("prompts", ["shared", "fresh"])
def test_the_sharp_form_approaches_the_crossover(prompts):
    """K = 2: high at short prompts, right in the limit of a low floor."""
    ratios = []
    for shift in (0.3, 0.1, 0.03, 0.01, 0.003):
        task = written_task(num_concepts=2, dim=DIM, weak_accuracy=0.6, concept_shift=shift)
        ratios.append(float(sharp(task, prompts) / crossover(task, prompts)))
    assert all(np.diff(ratios) < 0)
    assert 1 < ratios[-1] < (1.03 if prompts == "shared" else 1.1)
