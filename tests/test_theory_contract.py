"""What every closed form promises as a function: one program for many tasks, single precision, finite gradients."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_theory_population import in_random_frame, written_task
from w2s_jax import theory


def mixture(task):
    """The same task where teacher and target share an interior mixture of the model's own concepts."""
    prior = 0.6 * task.target_prior + 0.4 * task.source_prior
    own = {"weak_concepts": task.concepts, "weak_noise_var": task.noise_var}
    return task._replace(target_prior=prior, weak_prior=prior, **own)


def contaminated(task):
    return task._replace(weak_prior=0.9 * task.weak_prior + 0.1 / task.weak_prior.shape[-1])


FORMS = {
    "balanced_noise_var": lambda task: theory.balanced_noise_var(task),
    "bias_inner_product": lambda task: theory.bias_inner_product(task),
    "contamination_threshold": lambda task: theory.contamination_threshold(task),
    "em_first_step_risk": lambda task: theory.em_first_step_risk(mixture(task), 40),
    "em_limit_risk": lambda task: theory.em_limit_risk(mixture(task), 40),
    "expected_rival_weights": lambda task: theory.expected_rival_weights(task, 6, power=2),
    "hull_bias": lambda task: theory.hull_bias(task),
    "hull_misfit": lambda task: theory.hull_misfit(task),
    "hull_risk": lambda task: theory.hull_risk(task, 40),
    "hull_weights": lambda task: theory.hull_weights(task),
    "least_squares_risk": lambda task: theory.least_squares_risk(task, 40),
    "misalignment": lambda task: theory.misalignment(task, 6, "fresh", 10),
    "misalignment_asymptotic": lambda task: theory.misalignment_asymptotic(task, 6),
    "misalignment_bound": lambda task: theory.misalignment_bound(task, 6),
    "mixed_misalignment": lambda task: theory.mixed_misalignment(contaminated(task), 6, "fresh", 10),
    "mixed_posterior_exponent": lambda task: theory.mixed_posterior_exponent(contaminated(task)),
    "mixed_posterior_exponents": lambda task: theory.mixed_posterior_exponents(contaminated(task)).tilt,
    "mixed_rival_weights": lambda task: theory.mixed_rival_weights(contaminated(task), 6, power=2),
    "one_example_refinement_prior": lambda task: theory.one_example_refinement_prior(mixture(task)),
    "one_example_spread": lambda task: theory.one_example_spread(mixture(task)),
    "one_example_transition": lambda task: theory.one_example_transition(mixture(task)),
    "population_best_penalty": lambda task: theory.population_best_penalty(task),
    "population_em_prior": lambda task: theory.population_em_prior(mixture(task), 2),
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
    "self_refinement_bias": lambda task: theory.self_refinement_bias(mixture(task)),
    "self_refinement_coef": lambda task: theory.self_refinement_coef(mixture(task)),
    "source_bias": lambda task: theory.source_bias(task),
    "span_bias": lambda task: theory.span_bias(task),
    "span_misfit": lambda task: theory.span_misfit(task),
    "span_risk": lambda task: theory.span_risk(task, 40),
    "uniform_posterior_exponent": lambda task: theory.uniform_posterior_exponent(task),
    "weak_bias": lambda task: theory.weak_bias(task),
    "winner_takes_all_misalignment": lambda task: theory.winner_takes_all_misalignment(task),
    "wrong_prompt_misalignment": lambda task: theory.wrong_prompt_misalignment(task, 6, 0.2),
}
PARTS = (  # of another form: the same integrals, compiled anew
    "expected_rival_weights",
    "mixed_rival_weights",
    "one_example_refinement_prior",
    "one_example_spread",
    "one_example_transition",
    "refined_label_spread",
    "self_refinement_coef",
)
STATIC = ("hull_statistical_dimension", "lambert_w")
"""What takes no task."""
TASKS = [
    in_random_frame(
        written_task(num_concepts=3, dim=5, weak_accuracy=a, concept_shift=shift, weakness=weakness), 0.8, seed=seed
    )
    for seed, (weakness, a, shift) in enumerate([("rotated", 0.7, 0.4), ("opposed", 0.8, 0.7), ("shifted", 0.5, 0.2)])
]


def test_every_public_function_is_here():
    functions = {name for name in theory.__all__ if inspect.isfunction(getattr(theory, name))}
    assert functions - set(STATIC) == set(FORMS)
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
