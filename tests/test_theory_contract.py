"""What every closed form promises as a function: one program for many tasks, single precision, derivatives."""

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
    "mixed_rival_weights",
    "one_example_refinement_prior",
    "one_example_spread",
    "one_example_transition",
    "refined_label_spread",
    "self_refinement_coef",
)
FORMS = [name for name in FUNCTIONS if name not in (*ELSEWHERE, *PARTS)]
TASKS_OF = {
    **dict.fromkeys(("em_first_step_risk", "em_limit_risk", "population_em_prior", "self_refinement_bias"), mixture),
    **dict.fromkeys(("mixed_misalignment", "mixed_posterior_exponent", "mixed_posterior_exponents"), contaminated),
}
"""Another task, for forms that are of mixtures."""
NUMBERS = {"num_icl": 6.0, "num_samples": 40.0, "num_true": 7.0, "penalty": 0.3, "time": 0.4, "error": 0.2}
NUMBERS |= {"misalignment": 0.1, "spread": 0.2}
CHOICES = {"prompts": "shared", "num_steps": 2}
OPTIONS = {
    "misalignment": {"prompts": "fresh", "num_prompts": 10},
    "mixed_misalignment": {"prompts": "fresh", "num_prompts": 10},
    "expected_rival_weights": {"power": 2},
    "mixed_posterior_exponent": {"assumed_noise_var": 10.0},  # its tilt is at its limit
}
KINDS = [("rotated", 0.7, 0.4), ("opposed", 0.8, 0.7), ("shifted", 0.5, 0.2)]


def task_at(seed: int, step: float = 0.0):
    """A task, every knob of which moves with a step."""
    weakness, accuracy, shift = KINDS[seed]
    return in_random_frame(written_task(3, 5, accuracy + step, shift - step, 0.25 + step, weakness), 0.8 + step, seed)


TASKS = [task_at(seed) for seed in range(len(KINDS))]


def test_public_functions_are_listed():
    assert {*ELSEWHERE, *PARTS, *TASKS_OF, *OPTIONS} <= set(FUNCTIONS) <= set(dir(theory))


def called(name, task, x):
    """A form of a task, each number that it needs times `x`."""
    needed = [each for each, parameter in PARAMETERS[name].items() if parameter.default is parameter.empty][1:]
    given = {each: CHOICES[each] if each in CHOICES else x * NUMBERS[each] for each in needed}
    found = FUNCTIONS[name](TASKS_OF.get(name, lambda task: task)(task), **given, **OPTIONS.get(name, {}))
    return getattr(found, "tilt", found)


def everything(task, x=1.0):
    return {name: called(name, task, x) for name in FORMS}


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
    batch, flow_of = jax.tree.map(lambda *x: jnp.stack(x), *TASKS), jax.jit(theory.population_flow_risk)
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


GRIDS = {"misalignment", "refinement_crossover"}
"""Forms whose integrals are on grids that move: their differences are to 2e-3."""


@pytest.mark.slow
def test_every_derivative_is_a_difference():
    """Along all knobs of a task and all numbers at once; where a value is infinite it is finite."""

    @jax.jit
    def value_and_slope(task, x, direction):
        return jax.jvp(everything, (task, x), (direction, 1.0))

    step = 1e-5
    for seed, task in enumerate(TASKS):
        ahead, behind = task_at(seed, step), task_at(seed, -step)
        direction = jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)
        slopes = value_and_slope(task, 1.0, direction)[1]
        (more, _), (less, _) = (value_and_slope(t, 1.0 + s, direction) for t, s in ((ahead, step), (behind, -step)))
        for name, slope in slopes.items():
            found, finite = np.asarray(slope), np.isfinite(more[name])
            assert np.isfinite(found).all(), name
            expected = np.subtract(more[name], less[name], where=finite, out=np.zeros_like(found)) / (2 * step)
            rtol = 2e-3 if name in GRIDS else 1e-5
            np.testing.assert_allclose(found[finite], expected[finite], rtol=rtol, atol=1e-8, err_msg=name)
