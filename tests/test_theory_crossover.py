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

floor_of = jax.jit(theory.population_ridge_floor)
crossover = jax.jit(theory.refinement_crossover, static_argnames="prompts")
asymptotic = jax.jit(theory.misalignment_asymptotic, static_argnames="prompts")
PATHS = {
    prompts: jax.jit(
        jax.vmap(lambda task, n, prompts=prompts: theory.misalignment(task, n, prompts), in_axes=(None, 0))
    )
    for prompts in ("shared", "fresh")
}


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
        task = written_task(num_concepts=3, dim=4, weak_accuracy=0.75, concept_shift=0.3, weakness=weakness)
        task = task._replace(feature_var=jnp.asarray(np.full(4, scale)))
        floor = float(floor_of(task)) / scale
        found = brentq(lambda n, task=task, floor=floor: float(asymptotic(task, n, prompts)) - floor, 1e-4, 1e3)
        np.testing.assert_allclose(crossover(task, prompts), found, rtol=1e-8)


def test_no_crossover_where_there_is_no_floor_or_no_escape():
    noisy = written_task(num_concepts=3, dim=4, weak_accuracy=0.5, concept_shift=0.3, weakness="noisy")
    lost = written_task(num_concepts=3, dim=4, weak_accuracy=0.5, concept_shift=0.3, weakness="confused")
    for prompts in ("shared", "fresh"):
        assert jnp.isinf(crossover(noisy, prompts))
        assert jnp.isinf(crossover(lost, prompts))
    task = written_task(num_concepts=3, dim=4, weak_accuracy=1.0, concept_shift=0.3, weakness="noisy")
    assert jnp.isnan(
        crossover(
            task._replace(weak_concepts=jnp.asarray(1.1 * np.asarray(task.weak_concepts))),
            "fresh",
            assumed_noise_var=9.0,
        )
    )


@pytest.mark.parametrize("prompts", ["shared", "fresh"])
@pytest.mark.slow
def test_crossover_approaches_that_of_the_exact_integral(prompts):
    """K = 2: high at short prompts, right in the limit of a low floor."""
    ratios, lengths = [], np.linspace(0.25, 120.0, 480)
    for shift in (0.3, 0.1, 0.03, 0.01, 0.003):
        task = written_task(num_concepts=2, dim=3, weak_accuracy=0.6, concept_shift=shift)
        floor = float(floor_of(task))
        values = np.log(PATHS[prompts](task, lengths))
        last = np.max(np.nonzero(values > np.log(floor))[0])
        share = (values[last] - np.log(floor)) / (values[last] - values[last + 1])
        ratios.append(float(crossover(task, prompts) / (lengths[last] + share * (lengths[1] - lengths[0]))))
    print("ratios", ratios)
    assert all(np.diff(ratios) < 0)
    assert min(ratios) > 1
    assert ratios[-1] < (1.03 if prompts == "shared" else 1.1)
