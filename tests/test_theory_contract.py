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
    "refinement_crossover_asymptotic": lambda task: theory.refinement_crossover_asymptotic(task, "shared"),
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
STATIC = ("hull_statistical_dimension", "label_spread", "lambert_w")
"""What takes no task."""
SAMPLED = ("sampled_misalignment",)
"""What is computed by NumPy, for concrete tasks; `test_theory_misalignment.py` has its contract."""
TASKS = [
    in_random_frame(
        written_task(num_concepts=3, dim=5, weak_accuracy=a, concept_shift=shift, weakness=weakness), 0.8, seed=seed
    )
    for seed, (weakness, a, shift) in enumerate([("rotated", 0.7, 0.4), ("opposed", 0.8, 0.7), ("shifted", 0.5, 0.2)])
]


def test_every_public_function_is_here():
    functions = {name for name in theory.__all__ if inspect.isfunction(getattr(theory, name))}
    assert functions - {*STATIC, *SAMPLED} == set(FORMS)
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
def test_every_form_takes_a_batch_of_tasks():
    """`form(batch)` itself, without vmap, for a batch of shape [3, 1]: the values of the tasks one by one."""
    batch = jax.tree.map(lambda *x: jnp.stack(x)[:, None], *TASKS)
    fast = jax.jit(everything)
    alone = [fast(task) for task in TASKS]
    for name, values in jax.jit(everything)(batch).items():
        expected = np.stack([one[name] for one in alone])[:, None]
        assert values.shape == expected.shape, name
        np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-12, err_msg=name)


def test_batches_broadcast_with_arrays_of_numbers():
    """The three floors of one batch, and a path of lengths for one task."""
    batch = jax.tree.map(lambda *x: jnp.stack(x), *TASKS)
    floors = [theory.population_ridge_floor(task) for task in TASKS]
    np.testing.assert_allclose(theory.population_ridge_floor(batch), floors, rtol=1e-12)
    times = jnp.array([0.0, 0.5, 2.0])
    path = theory.population_flow_risk(batch, times[:, None])
    assert path.shape == (3, 3)
    np.testing.assert_allclose(path[2, 1], theory.population_flow_risk(TASKS[1], 2.0), rtol=1e-12)
    assert theory.posterior_exponents(batch).tilt.shape == (3, 3)
    with pytest.raises(ValueError, match="All fields of a task must have the same batch dimensions, got concepts"):
        theory.source_bias(batch._replace(concepts=TASKS[0].concepts))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda task: theory.misalignment(task, -3), "num_icl must be at least 0, got -3; it is a number of examples."),
        (lambda task: theory.misalignment(task, jnp.array([2, -1])), "num_icl must be at least 0, got -1"),
        (lambda task: theory.population_flow_risk(task, -1.0), "time must be at least 0, got -1"),
        (lambda task: theory.ridge_risk(task, 0, 1.0), "num_samples must be above 0, got 0"),
        (lambda task: theory.ridge_risk(task, 9, penalty=np.float32(-1)), "penalty must be at least 0, got -1"),
        (lambda task: theory.posterior_exponent(task, assumed_noise_var=0), "assumed_noise_var must be above 0, got 0"),
        (lambda task: theory.misalignment(task, 2, "fresh", 0), "num_prompts must be at least 1, got 0"),
        (
            lambda task: theory.wrong_prompt_misalignment(task, 2, 1.5),
            "error must be at least 0 and at most 1, got 1.5",
        ),
        (lambda task: theory.sampled_misalignment(task, -1), "num_icl must be at least 0, got -1"),
        (lambda task: theory.lambert_w(-1.0), "x must be at least 0, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(TASKS[0])


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
