"""The refined student against the theory of its risk, and its parts against the kernels that it is made of."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import w2s_jax as w2s
from tests.helpers import assert_mean, assert_mean_rejects, assert_mean_sharply
from tests.test_sampling import replicates
from w2s_jax import theory

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
SCALE, DIM, NUM_ICL = 0.5, 8, 4
TASK = w2s.make_task(num_concepts=3, dim=DIM, weak_accuracy=0.7, concept_shift=0.6, noise_var=0.4)
TASK = TASK._replace(feature_var=jnp.full(DIM, SCALE))


def risk(key, task, num_samples=24, num_icl=NUM_ICL, **options):
    coef = w2s.refine(key, task, num_samples, num_icl, **options).coef
    return w2s.excess_risk(coef, task.target_coef, task.feature_var)


@partial(jax.jit, static_argnames=("prompts", "draw"))
def _expected_risk(task, num_samples, num_icl, assumed_noise_var, prompts, draw):
    assumed = {"assumed_noise_var": assumed_noise_var}
    return theory.refined_risk(
        task,
        num_samples,
        theory.misalignment(task, num_icl, prompts, **assumed),
        theory.refined_label_spread(task, num_icl, prompts, draw, **assumed),
        noise_var=0.0 if draw == "mean" else None,
    )


def expected_risk(task, num_samples, num_icl, prompts, draw, assumed_noise_var=None):
    """Numbers are passed as arrays of one type: a program for each kind of prompts and labels."""
    noise_var = task.noise_var if assumed_noise_var is None else assumed_noise_var
    numbers = (jnp.asarray(x, float) for x in (num_samples, num_icl, noise_var))
    return _expected_risk(task, *numbers, prompts=prompts, draw=draw)


@pytest.mark.parametrize("prompts", ["shared", "fresh"])
@pytest.mark.parametrize(
    ("draw", "num_samples", "num_icl", "assumed_noise_var"),
    [("sample", 24, NUM_ICL, None), ("mean", 24, NUM_ICL, 1.0), ("sample", 3, NUM_ICL, None)],
)
def test_the_mean_risk_is_that_of_theory(draw, num_samples, num_icl, assumed_noise_var, prompts):
    options = {"prompts": prompts, "draw": draw, "assumed_noise_var": assumed_noise_var}
    risks = replicates(lambda key: risk(key, TASK, num_samples, num_icl, **options), 8000)()
    expected = expected_risk(TASK, num_samples, num_icl, **options)
    assert_mean_sharply(risks, expected)
    if num_samples > DIM:
        other = {"shared": "fresh", "fresh": "shared"}[prompts]
        assert_mean_rejects(risks, expected_risk(TASK, num_samples, num_icl, other, draw, assumed_noise_var))


@pytest.mark.parametrize("prompts", ["shared", "fresh"])
def test_the_slope_of_drawn_labels_is_that_of_the_mean_risk(prompts):
    def at(noise_var):
        return TASK._replace(noise_var=0.4 * noise_var, weak_noise_var=0.4 * noise_var)

    slopes = replicates(lambda key: jax.grad(lambda noise: risk(key, at(noise), prompts=prompts))(1.0), 12_000)()
    exact = jax.grad(lambda noise: expected_risk(at(noise), 24, NUM_ICL, prompts, "sample"))(1.0)
    assert_mean(slopes, exact)
    assert_mean_rejects(slopes, 1.1 * exact)


@pytest.mark.parametrize("prompts", ["shared", "fresh"])
@pytest.mark.parametrize("draw", ["sample", "mean", "map"])
def test_what_is_returned_belongs_together(key, draw, prompts):
    num_samples = 10
    task = TASK._replace(noise_var=jnp.array(1e-12), weak_noise_var=jnp.array(0.1))
    refined = w2s.refine(key, task, num_samples, NUM_ICL, prompts=prompts, draw=draw, assumed_noise_var=0.4)
    assert refined.weights.shape == ((3,) if prompts == "shared" else (num_samples, 3))
    np.testing.assert_allclose(refined.weights.sum(-1), 1.0, rtol=1e-10)
    assert prompts == "shared" or len(np.unique(refined.weights[:, 0])) == num_samples
    answers = np.asarray(refined.examples.features @ task.concepts.T)
    weights = np.broadcast_to(refined.weights, answers.shape)
    labels = np.asarray(refined.labels)
    if draw == "mean":
        np.testing.assert_allclose(labels, (weights * answers).sum(axis=1), rtol=1e-10)
    elif draw == "map":
        np.testing.assert_allclose(labels, answers[np.arange(num_samples), weights.argmax(axis=1)], atol=1e-4)
    else:
        assert np.abs(labels[:, None] - answers).min(axis=1).max() < 1e-4
    teacher = np.asarray(refined.examples.features @ task.weak_coef)
    assert 0.1 < np.std(np.asarray(refined.examples.labels) - teacher) < 0.7  # the teacher's own noise
    fitted = np.linalg.lstsq(np.asarray(refined.examples.features), labels, rcond=None)[0]
    np.testing.assert_allclose(refined.coef, fitted, rtol=1e-8, atol=1e-10)


def test_more_prompts_or_another_draw_leave_the_examples(key):
    one = w2s.refine(key, TASK, 10, NUM_ICL)
    for other in (w2s.refine(key, TASK, 10, 8, prompts="fresh"), w2s.refine(key, TASK, 10, NUM_ICL, draw="mean")):
        jax.tree.map(np.testing.assert_array_equal, one.examples, other.examples)


def test_without_a_prompt_labels_are_the_sources(key):
    np.testing.assert_allclose(w2s.refine(key, TASK, 10, 0).weights, TASK.source_prior, rtol=1e-10)


BAD = [
    ({"num_icl": -1}, "num_icl must not be negative, got -1"),
    ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
    ({"assumed_noise_var": 0.0}, "assumed_noise_var must be positive, got 0.0"),
    ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_arguments_are_named(key, change, message):
    with pytest.raises(ValueError, match=message):
        w2s.refine(key, TASK, **{"num_samples": 10, "num_icl": 2, **change})


def test_unknown_words_are_named(key):
    with pytest.raises(ValueError, match="prompts must be one of shared, fresh; got 'own'"):
        inspect.unwrap(w2s.refine)(key, TASK, 10, 2, prompts="own")
