"""The crossover in prompt length, and the Lambert function behind it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import lambertw

from tests.test_theory_population import written_task
from w2s_jax import theory
from w2s_jax.tasks import WEAKNESSES

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
floor_of = jax.jit(theory.population_ridge_floor)
# A program for each number of concepts and kind of prompts; those of a crossover compile for seconds.
crossover = jax.jit(theory.refinement_crossover, static_argnames="prompts")
sharp = jax.jit(theory.refinement_crossover_asymptotic, static_argnames="prompts")
asymptotic = jax.jit(theory.misalignment_asymptotic, static_argnames="prompts")
exact = jax.jit(theory.misalignment, static_argnames="prompts")
TRAPPED = [w for w in WEAKNESSES if w != "noisy"]


def task_of(num_concepts, weak_accuracy, concept_shift, scale=1.0, **options):
    task = written_task(num_concepts, 5, weak_accuracy, concept_shift, **options)
    return task._replace(feature_var=jnp.asarray(np.full(5, scale)))


def test_lambert_w_matches_scipy():
    lambert = jax.jit(jax.vmap(jax.value_and_grad(theory.lambert_w)))
    x = np.geomspace(1e-12, 1e250, 400)
    w = lambertw(x).real
    value, slope = lambert(x)
    np.testing.assert_allclose(value, w, rtol=1e-13)
    np.testing.assert_allclose(slope, w / (x * (1 + w)), rtol=1e-10)
    assert lambert(np.zeros(1))[0] == 0
    single = lambert(np.geomspace(1e-6, 1e30, 100).astype(np.float32))[0]
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, lambertw(np.geomspace(1e-6, 1e30, 100)).real, rtol=1e-5)


@pytest.mark.parametrize("prompts", ["shared", "fresh"])
def test_crossover_is_where_the_sharp_form_meets_the_floor(prompts):
    for weakness in TRAPPED:
        task = task_of(4, 0.75, 0.3, scale=0.5, weakness=weakness)
        floor = float(floor_of(task)) / 0.5
        found = brentq(lambda n, task=task, floor=floor: float(asymptotic(task, n, prompts)) - floor, 1e-4, 1e3)
        np.testing.assert_allclose(sharp(task, prompts), found, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(("num_concepts", "prompts"), [(2, "shared"), (2, "fresh"), (4, "shared")])
def test_crossover_is_where_the_misalignment_meets_the_floor(num_concepts, prompts):
    for weakness in TRAPPED:
        task = task_of(num_concepts, 0.75, 0.05, scale=0.5, weakness=weakness, noise_var=0.5)
        floor, n = float(floor_of(task)) / 0.5, float(crossover(task, prompts))
        assert 0.5 < n < sharp(task, prompts)
        np.testing.assert_allclose(exact(task, n, prompts), floor, rtol=1e-9)


def test_ends_of_the_range():
    """Under half an example; and under a floor of 1e-4, the sharp form for K > 2."""
    assert crossover(task_of(2, 0.7, 0.3, noise_var=0.5), "fresh") == 0.5
    near = task_of(4, 0.9999, 0.01)
    assert crossover(near, "shared") == sharp(near, "shared") > 1


@pytest.mark.slow
def test_no_crossover_where_there_is_no_floor_or_no_escape():
    noisy, lost = task_of(4, 0.5, 0.3, weakness="noisy"), task_of(4, 0.4, 0.3, weakness="confused")
    for length in (crossover, sharp):
        assert jnp.isinf(length(noisy, "shared")) and jnp.isinf(length(lost, "shared"))
    loud = noisy._replace(weak_concepts=1.1 * np.asarray(noisy.weak_concepts))
    assert jnp.isnan(sharp(loud, "fresh", assumed_noise_var=9.0))
