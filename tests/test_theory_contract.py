"""What every closed form promises as a function: one program for many tasks, single precision, finite gradients."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_theory_population import in_random_frame, written_task
from w2s_jax import theory

FORMS = {
    "balanced_noise_var": lambda task: theory.balanced_noise_var(task),
    "bias_inner_product": lambda task: theory.bias_inner_product(task),
    "expected_rival_weights": lambda task: theory.expected_rival_weights(task, 6, power=2),
    "least_squares_risk": lambda task: theory.least_squares_risk(task, 40),
    "misalignment": lambda task: theory.misalignment(task, 6, "fresh", 10),
    "misalignment_asymptotic": lambda task: theory.misalignment_asymptotic(task, 6),
    "misalignment_bound": lambda task: theory.misalignment_bound(task, 6),
    "population_best_penalty": lambda task: theory.population_best_penalty(task),
    "population_flow_risk": lambda task: theory.population_flow_risk(task, 0.4),
    "population_ridge_floor": lambda task: theory.population_ridge_floor(task),
    "population_ridge_risk": lambda task: theory.population_ridge_risk(task, 0.4),
    "posterior_error_bound": lambda task: theory.posterior_error_bound(task, 6),
    "posterior_exponent": lambda task: theory.posterior_exponent(task),
    "posterior_exponents": lambda task: theory.posterior_exponents(task).tilt,
    "refined_label_spread": lambda task: theory.refined_label_spread(task, 6),
    "refined_risk": lambda task: theory.refined_risk(task, 40, 0.1, 0.2),
    "refinement_crossover": lambda task: theory.refinement_crossover(task, "shared"),
    "ridge_risk": lambda task: theory.ridge_risk(task, 40, 0.3),
    "rival_weights_asymptotic": lambda task: theory.rival_weights_asymptotic(task, 6),
    "source_bias": lambda task: theory.source_bias(task),
    "uniform_posterior_exponent": lambda task: theory.uniform_posterior_exponent(task),
    "weak_bias": lambda task: theory.weak_bias(task),
}
PARTS = ("expected_rival_weights", "refined_label_spread")  # of misalignment: the same integrals, compiled anew
TASKS = [
    in_random_frame(
        written_task(num_concepts=3, dim=5, weak_accuracy=a, concept_shift=shift, weakness=weakness), 0.8, seed=seed
    )
    for seed, (weakness, a, shift) in enumerate([("rotated", 0.7, 0.4), ("opposed", 0.8, 0.7), ("shifted", 0.5, 0.2)])
]


def test_every_public_function_is_here():
    functions = {name for name in theory.__all__ if inspect.isfunction(getattr(theory, name))}
    assert functions - {"lambert_w"} == set(FORMS)
    assert all(name in dir(theory) for name in theory.__all__)


def everything(task):
    return {name: form(task) for name, form in FORMS.items() if name not in PARTS}


@pytest.mark.slow
def test_one_program_serves_every_task():
    """Traced once for three tasks; the same tasks as one batch in single precision agree with it."""
    traces = []

    @jax.jit
    def fast(task):
        traces.append(None)
        return everything(task)

    alone = [fast(task) for task in TASKS]
    assert len(traces) == 1
    batch = jax.tree.map(lambda *x: jnp.stack(x).astype(jnp.float32), *TASKS)
    single = jax.jit(jax.vmap(everything))(batch)
    for name, values in single.items():
        assert values.dtype == jnp.float32, name
        np.testing.assert_allclose(values, [one[name] for one in alone], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_every_derivative_is_finite():
    """Along a generic direction in the space of tasks; the integral's is in test_theory_posterior_mean.py."""

    @jax.jit
    def derivative(task):
        direction = jax.tree.map(lambda x: jnp.cos(1.0 + jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), task)
        return jax.jvp(
            lambda task: [form(task) for name, form in FORMS.items() if name not in PARTS], (task,), (direction,)
        )[1]

    for task in TASKS:
        assert all(jnp.isfinite(x).all() for x in derivative(task))
