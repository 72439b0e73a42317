"""The refined student against the theory of its risk, and its parts against the kernels that it is made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import w2s_jax as w2s
from tests.helpers import assert_mean_rejects, assert_mean_sharply
from tests.test_sampling import replicates
from w2s_jax import theory

pytestmark = pytest.mark.usefixtures("compile_in_a_hurry")
NUM_ICL, NOISE = 4, 0.4
TASK = w2s.make_task(num_concepts=3, dim=8, weak_accuracy=0.7, concept_shift=0.6, noise_var=NOISE)
TASK = TASK._replace(feature_var=jnp.full(8, 0.5))
PROMPTS, DRAWS = ("shared", "fresh"), ("sample", "mean", "map")


def with_noise(noise_var):
    return TASK._replace(noise_var=noise_var, weak_noise_var=noise_var)


def risk(key, num_samples, noise_var=NOISE, **options):
    task = with_noise(noise_var)
    coef = w2s.refine(key, task, num_samples, NUM_ICL, **options).coef
    return w2s.excess_risk(coef, task.target_coef, task.feature_var)


@jax.jit
def expected_risks(noise_var, num_samples, assumed_noise_var):
    """Mean risks by prompts and labels: one program for all tests."""
    task, length = with_noise(noise_var), jnp.array(float(NUM_ICL))

    def of(prompts, draw):
        level = theory.misalignment(task, length, prompts, assumed_noise_var=assumed_noise_var)
        spread = theory.refined_label_spread(task, length, prompts, draw, assumed_noise_var=assumed_noise_var)
        return theory.refined_risk(task, num_samples, level, spread, noise_var=0.0 if draw == "mean" else None)

    return {(prompts, draw): of(prompts, draw) for prompts in PROMPTS for draw in ("sample", "mean")}


def assert_is(risks, expected, prompts, draw):
    """The mean risk is that of these prompts, not of the other kind."""
    assert_mean_sharply(risks, expected[prompts, draw])
    assert_mean_rejects(risks, expected["fresh" if prompts == "shared" else "shared", draw])


@pytest.mark.slow
@pytest.mark.parametrize("prompts", PROMPTS)
def test_the_mean_risk_and_its_slope_in_the_noise_are_those_of_theory(prompts):
    risks, slopes = replicates(
        lambda key: jax.value_and_grad(lambda noise_var: risk(key, 24, noise_var, prompts=prompts))(NOISE), 12_000
    )()
    assert_is(risks, expected_risks(NOISE, 24.0, NOISE), prompts, "sample")
    step = 1e-4
    above, below = (expected_risks(noise, 24.0, noise)[prompts, "sample"] for noise in (NOISE + step, NOISE - step))
    assert_mean_sharply(slopes, (above - below) / (2 * step))


@pytest.mark.slow
@pytest.mark.parametrize("prompts", PROMPTS)
def test_the_mean_risk_of_mean_labels_is_that_of_theory(prompts):
    risks = replicates(lambda key: risk(key, 24, prompts=prompts, draw="mean", assumed_noise_var=1.0), 8000)()
    assert_is(risks, expected_risks(NOISE, 24.0, 1.0), prompts, "mean")


@pytest.mark.slow
def test_with_fewer_examples_than_features_the_student_stays_near_the_source():
    risks = replicates(lambda key: risk(key, 3, prompts="fresh"), 8000)()
    assert_mean_sharply(risks, expected_risks(NOISE, 3.0, NOISE)["fresh", "sample"])


@pytest.fixture(scope="module")
def refined():
    """A task, and what is returned for it by prompts, labels and length of prompts: one program, one key."""
    task = TASK._replace(noise_var=jnp.array(1e-12), weak_noise_var=jnp.array(0.1))
    cases = [(prompts, draw, NUM_ICL) for prompts in PROMPTS for draw in DRAWS]
    cases += [("fresh", "sample", 8), ("shared", "sample", 0)]

    def of(key, prompts, draw, num_icl):
        return w2s.refine(key, task, 10, num_icl, prompts=prompts, draw=draw, assumed_noise_var=0.4)

    found = jax.jit(lambda key: {case: of(key, *case) for case in cases})(jax.random.key(0))
    return task, jax.tree.map(np.asarray, found)


@pytest.mark.slow
@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("draw", DRAWS)
def test_what_is_returned_belongs_together(refined, draw, prompts):
    task, found = refined
    coef, labels, examples, weights = found[prompts, draw, NUM_ICL]
    assert weights.shape == ((3,) if prompts == "shared" else (10, 3))
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-10)
    assert prompts == "shared" or len(np.unique(weights[:, 0])) == 10
    answers = examples.features @ np.asarray(task.concepts).T
    weights = np.broadcast_to(weights, answers.shape)
    if draw == "mean":
        np.testing.assert_allclose(labels, (weights * answers).sum(axis=1), rtol=1e-10)
    elif draw == "map":
        np.testing.assert_allclose(labels, answers[np.arange(10), weights.argmax(axis=1)], atol=1e-4)
    else:
        assert np.abs(labels[:, None] - answers).min(axis=1).max() < 1e-4
    teacher = examples.features @ np.asarray(task.weak_coef)
    assert 0.1 < np.std(examples.labels - teacher) < 0.7  # the teacher's own noise
    np.testing.assert_allclose(coef, np.linalg.lstsq(examples.features, labels)[0], rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_longer_prompts_or_another_draw_leave_the_examples_and_no_prompt_leaves_the_prior(refined):
    task, found = refined
    for other in found.values():
        jax.tree.map(np.testing.assert_array_equal, other.examples, found["shared", "sample", 0].examples)
    np.testing.assert_allclose(found["shared", "sample", 0].weights, task.source_prior, rtol=1e-10)
