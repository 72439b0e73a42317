"""What every closed form promises as a function: one program for many tasks, single precision, finite gradients."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_theory_population import in_random_frame, refusals, written_task
from w2s_jax import theory


def mixture(task):
    """The same task where teacher and target share an interior mixture of the model's own concepts."""
    prior = 0.6 * task.target_prior + 0.4 * task.source_prior
    own = {"weak_concepts": task.concepts, "weak_noise_var": task.noise_var}
    return task._replace(target_prior=prior, weak_prior=prior, **own)


def contaminated(task):
    return task._replace(weak_prior=0.9 * task.weak_prior + 0.1 / task.weak_prior.shape[-1])


FUNCTIONS = {name: getattr(theory, name) for name in theory.__all__ if inspect.isfunction(getattr(theory, name))}
PARAMETERS = {name: inspect.signature(form).parameters for name, form in FUNCTIONS.items()}
ELSEWHERE = ("hull_statistical_dimension", "label_spread", "lambert_w", "sampled_misalignment")
"""What takes no task, or concrete ones alone (`test_theory_misalignment.py` has the contract of the last)."""
PARTS = (  # of another form: the same integrals, compiled anew
    "expected_rival_weights",
    "mixed_rival_weights",
    "one_example_refinement_prior",
    "one_example_spread",
    "one_example_transition",
    "refined_label_spread",
    "self_refinement_coef",
)
MORE = {
    "em_first_step_risk": lambda task: theory.em_first_step_risk(mixture(task), 40),
    "em_limit_risk": lambda task: theory.em_limit_risk(mixture(task), 40),
    "hull_risk": lambda task: theory.hull_risk(task, 40),
    "least_squares_risk": lambda task: theory.least_squares_risk(task, 40),
    "misalignment": lambda task: theory.misalignment(task, 6, "fresh", 10),
    "misalignment_asymptotic": lambda task: theory.misalignment_asymptotic(task, 6),
    "misalignment_bound": lambda task: theory.misalignment_bound(task, 6),
    "mixed_labels_risk": lambda task: theory.mixed_labels_risk(task, 40, 7),
    "mixed_misalignment": lambda task: theory.mixed_misalignment(contaminated(task), 6, "fresh", 10),
    "mixed_posterior_exponent": lambda task: theory.mixed_posterior_exponent(contaminated(task)),
    "mixed_posterior_exponents": lambda task: theory.mixed_posterior_exponents(contaminated(task)).tilt,
    "population_em_prior": lambda task: theory.population_em_prior(mixture(task), 2),
    "population_flow_risk": lambda task: theory.population_flow_risk(task, 0.4),
    "population_ridge_risk": lambda task: theory.population_ridge_risk(task, 0.4),
    "posterior_error_bound": lambda task: theory.posterior_error_bound(task, 6),
    "posterior_exponents": lambda task: theory.posterior_exponents(task).tilt,
    "refined_risk": lambda task: theory.refined_risk(task, 40, 0.1, 0.2),
    "refinement_crossover": lambda task: theory.refinement_crossover(task, "shared"),
    "refinement_crossover_asymptotic": lambda task: theory.refinement_crossover_asymptotic(task, "shared"),
    "ridge_risk": lambda task: theory.ridge_risk(task, 40, 0.3),
    "ridge_risk_correction": lambda task: theory.ridge_risk_correction(task, 40, 0.3),
    "rival_weights_asymptotic": lambda task: theory.rival_weights_asymptotic(task, 6),
    "self_refinement_bias": lambda task: theory.self_refinement_bias(mixture(task)),
    "span_risk": lambda task: theory.span_risk(task, 40),
    "wrong_prompt_misalignment": lambda task: theory.wrong_prompt_misalignment(task, 6, 0.2),
}
"""Calls of forms that take more than a task, or another task."""
FORMS = {name: MORE.get(name, form) for name, form in FUNCTIONS.items() if name not in (*ELSEWHERE, *PARTS)}
KINDS = [("rotated", 0.7, 0.4), ("opposed", 0.8, 0.7), ("shifted", 0.5, 0.2)]
TASKS = [
    in_random_frame(written_task(3, 5, accuracy, shift, weakness=weakness), 0.8, seed)
    for seed, (weakness, accuracy, shift) in enumerate(KINDS)
]


def test_public_functions_are_listed():
    assert {*ELSEWHERE, *PARTS, *MORE} <= set(FUNCTIONS) <= set(dir(theory))


def everything(task):
    return {name: form(task) for name, form in FORMS.items()}


@pytest.fixture(scope="module")
def alone() -> list[dict]:
    """The values of every task: one program, traced once for all three."""
    traces = []

    @jax.jit
    def fast(task):
        traces.append(None)
        return everything(task)

    found = [fast(task) for task in TASKS]
    assert len(traces) == 1
    return found


@pytest.mark.slow
def test_a_batch_in_single_precision_agrees(alone):
    batch = jax.tree.map(lambda *x: jnp.stack(x).astype(jnp.float32), *TASKS)
    single = jax.jit(jax.vmap(everything))(batch)
    for name, values in single.items():
        assert values.dtype == jnp.float32, name
        np.testing.assert_allclose(values, [one[name] for one in alone], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_every_form_takes_a_batch_of_tasks(alone):
    """`form(batch)` itself, without vmap, for a batch of shape [3, 1]: the values of the tasks one by one."""
    batch = jax.tree.map(lambda *x: jnp.stack(x)[:, None], *TASKS)
    for name, values in jax.jit(everything)(batch).items():
        expected = np.stack([one[name] for one in alone])[:, None]
        assert values.shape == expected.shape, name
        np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-12, err_msg=name)


def test_batches_broadcast_with_arrays_of_numbers():
    """The three floors of one batch, and a path of lengths for one task."""
    batch = jax.tree.map(lambda *x: jnp.stack(x), *TASKS)
    floor_of, flow_of = jax.jit(theory.population_ridge_floor), jax.jit(theory.population_flow_risk)
    np.testing.assert_allclose(floor_of(batch), [floor_of(task) for task in TASKS], rtol=1e-12)
    path = flow_of(batch, jnp.array([0.0, 0.5, 2.0])[:, None])
    assert path.shape == (3, 3)
    np.testing.assert_allclose(path[2, 1], flow_of(TASKS[1], 2.0), rtol=1e-12)
    with pytest.raises(ValueError, match="All fields of a task must have the same batch dimensions, got concepts"):
        theory.source_bias(batch._replace(concepts=TASKS[0].concepts))


test_numbers_out_of_range_are_refused = refusals(
    (lambda: theory.misalignment(TASKS[0], -3), "num_icl must be at least 0, got -3; it is a number of examples."),
    (lambda: theory.misalignment(TASKS[0], jnp.array([2, -1])), "num_icl must be at least 0, got -1"),
    (lambda: theory.ridge_risk(TASKS[0], 0, 1.0), "num_samples must be above 0, got 0"),
    (lambda: theory.wrong_prompt_misalignment(TASKS[0], 2, 1.5), "error must be at least 0 and at most 1, got"),
    (lambda: theory.sampled_misalignment(TASKS[0], -1), "num_icl must be at least 0, got -1"),
    (lambda: theory.sampled_misalignment(TASKS[0], 1.5), r"num_icl must be a whole number, got 1\.5; round it"),
    (lambda: jax.jit(theory.sampled_misalignment)(TASKS[0], 1), "needs concrete numbers"),
    (lambda: theory.lambert_w(-1.0), "x must be at least 0, got -1"),
    (lambda: theory.population_em_prior(TASKS[0], -1), "num_steps must be at least 0, got -1"),
    (lambda: theory.hull_statistical_dimension(0), "num_concepts must be positive, got 0"),
    (lambda: theory.expected_rival_weights(TASKS[0], 2, power=3), r"power must be 1 or 2, got 3\."),
    (lambda: theory.mixed_rival_weights(TASKS[0], 2, power=3), "power must be 1 or 2, got 3; E w_j"),
)


WORDS = [(name, word) for name in FUNCTIONS for word in PARAMETERS[name] if word in ("prompts", "draw")]


@pytest.mark.parametrize(("name", "word"), WORDS)
def test_other_words_are_refused(name, word):
    """By our own error, or by the type hook of tests before it."""
    given = {"task": TASKS[0], "num_icl": 2, "error": 0.1, word: "other"}
    with pytest.raises(Exception, match=f"{word} must be '|typechecking parameter '{word}'"):
        FUNCTIONS[name](**{each: value for each, value in given.items() if each in PARAMETERS[name]})


@pytest.mark.slow
def test_every_derivative_is_finite():
    """Along a generic direction in the space of tasks; the integral's is in test_theory_posterior_mean.py."""

    @jax.jit
    def derivative(task):
        direction = jax.tree.map(lambda x: jnp.cos(1.0 + jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), task)
        return jax.jvp(everything, (task,), (direction,))[1]

    for task in TASKS:
        assert all(jnp.isfinite(x).all() for x in derivative(task).values())
