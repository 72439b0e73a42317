"""The knobs that relax the assumptions: neutral values change nothing, ranges are said, tasks mean what they say."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import w2s_jax as w2s
from tests.test_theory_population import refusals
from w2s_jax.relaxed import coherent_gram, contaminated_prior, power_law_spectrum
from w2s_jax.tasks import WEAKNESSES

CELL = {"num_concepts": 4, "dim": 6, "weak_accuracy": 0.7, "concept_shift": 0.5}


def with_gram(gram):
    return w2s.make_task(**CELL, gram=jnp.asarray(gram))


def tasks_of(gram=None) -> dict:
    return {weakness: w2s.make_task(**CELL, weakness=weakness, target_concept=2, gram=gram) for weakness in WEAKNESSES}


@jax.jit
def relaxed_tasks(key, coherence):
    gram = coherent_gram(4, coherence)
    return gram, tasks_of(gram), w2s.random_task(key, **CELL, gram=gram)


@pytest.mark.parametrize("coherence", [-0.3, 0.9])
def test_concepts_have_the_gram_matrix_and_the_teacher_its_accuracy(coherence, key):
    gram, tasks, turned = relaxed_tasks(key, coherence)
    for weakness, task in [*tasks.items(), ("rotated", turned)]:
        np.testing.assert_allclose(task.concepts @ task.concepts.T, gram, atol=1e-12)
        if weakness == "noisy":
            np.testing.assert_allclose(task.weak_coef, task.target_coef, atol=1e-12)
            continue
        along = task.weak_coef @ task.target_coef
        np.testing.assert_allclose(along / jnp.linalg.norm(task.weak_coef), 0.7, rtol=1e-10)
        if weakness in ("rotated", "shifted"):  # it leaves the span of the concepts
            np.testing.assert_allclose(task.concepts @ (task.weak_coef - along * task.target_coef), 0, atol=1e-12)


def test_an_identity_gram_changes_nothing(key):
    tasks = relaxed_tasks(key, 0.0)[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), tasks, jax.jit(tasks_of)())


test_values_out_of_range_are_refused = refusals(
    (lambda: with_gram(np.ones((4, 4))), "gram must be symmetric and positive definite with unit diagonal"),
    (lambda: with_gram(np.full((4, 4), np.nan)), "gram must be symmetric and positive definite with unit diagonal"),
    (lambda: with_gram(np.triu(np.full((4, 4), 0.3), 1) + np.eye(4)), "gram must be symmetric"),
    (lambda: with_gram(np.eye(3)), "gram must be a 4 x 4 matrix"),
    *((partial(coherent_gram, 4, x), r"coherence must be in \(-1/\(K - 1\), 1\)") for x in (-1 / 3, 1.0, np.nan)),
    (lambda: coherent_gram(1, 0.0), "num_concepts must be at least 2"),
    (lambda: power_law_spectrum(4, -1), "exponent must not be negative, got -1"),
    *((partial(contaminated_prior, jnp.eye(2)[0], x), r"contamination must be in \[0, 1\]") for x in (-0.1, 1.1)),
)


def test_the_spectrum_has_mean_one_and_falls_as_a_power():
    for exponent in (0, 0.7):
        powers = np.arange(1.0, 51) ** -exponent
        np.testing.assert_allclose(power_law_spectrum(50, exponent), powers / powers.mean(), rtol=1e-12)


def test_a_contaminated_prior_is_what_replacing_concepts_one_by_one_gives():
    prior = np.array([0.6, 0.3, 0.1])
    replaced = 0.75 * np.eye(3) + 0.25 * (1 - np.eye(3)) / 2  # from each concept, with probability 1/4, to another
    np.testing.assert_allclose(contaminated_prior(jnp.asarray(prior), 0.25), prior @ replaced, rtol=1e-12)
    np.testing.assert_array_equal(contaminated_prior(jnp.asarray(prior), 0.0), prior)
