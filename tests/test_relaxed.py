"""The knobs that relax the assumptions: neutral values change nothing, ranges are said, tasks mean what they say."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import w2s_jax as w2s
from tests.test_theory_population import assert_slopes, refusals
from w2s_jax.relaxed import coherent_gram, contaminated_prior, power_law_spectrum
from w2s_jax.tasks import WEAKNESSES

CELL = {"num_concepts": 4, "dim": 6, "weak_accuracy": 0.7, "concept_shift": 0.5}


def with_gram(gram):
    return w2s.make_task(**CELL, gram=jnp.asarray(gram))


@pytest.mark.slow
@pytest.mark.parametrize("weakness", WEAKNESSES)
@pytest.mark.parametrize("coherence", [-0.3, 0.9])
def test_concepts_have_the_gram_matrix_and_the_teacher_its_accuracy(weakness, coherence, key):
    gram = coherent_gram(4, coherence)
    task, turned = w2s.make_task(**CELL, weakness=weakness, gram=gram), w2s.random_task(key, **CELL, gram=gram)
    for each in (task, turned):
        np.testing.assert_allclose(each.concepts @ each.concepts.T, gram, atol=1e-12)
    if weakness == "noisy":
        np.testing.assert_allclose(task.weak_coef, task.target_coef, atol=1e-12)
        return
    correlation = task.weak_coef @ task.target_coef / jnp.linalg.norm(task.weak_coef)
    np.testing.assert_allclose(correlation, 0.7, rtol=1e-10)
    if weakness in ("rotated", "shifted"):  # it leaves the span of the concepts
        error = task.weak_coef - (task.weak_coef @ task.target_coef) * task.target_coef
        np.testing.assert_allclose(task.concepts @ error, 0, atol=1e-12)


def test_an_identity_gram_changes_nothing():
    for weakness in WEAKNESSES:
        plain = w2s.make_task(**CELL, weakness=weakness, target_concept=2)
        same = w2s.make_task(**CELL, weakness=weakness, target_concept=2, gram=jnp.eye(4))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), plain, same)


def test_coherence_may_be_traced_and_differentiated():
    def bias(coherence):
        task = w2s.make_task(**CELL, weakness="confused", gram=coherent_gram(4, coherence))
        return w2s.theory.bias_inner_product(task)

    assert_slopes(bias, [0.2], rtol=1e-6)


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
    np.testing.assert_allclose(power_law_spectrum(5, 0), 1)
    spectrum = np.asarray(power_law_spectrum(50, 0.7))
    np.testing.assert_allclose(spectrum.mean(), 1)
    slope = np.polyfit(np.log(np.arange(1, 51)), np.log(spectrum), 1)[0]
    np.testing.assert_allclose(slope, -0.7)


def test_a_contaminated_prior_is_what_replacing_concepts_one_by_one_gives():
    prior, rho, rng = np.array([0.6, 0.3, 0.1]), 0.25, np.random.default_rng(0)
    drawn = rng.choice(3, 200_000, p=prior)
    replaced = np.where(rng.random(200_000) < rho, (drawn + rng.integers(1, 3, 200_000)) % 3, drawn)
    expected = np.asarray(contaminated_prior(jnp.asarray(prior), rho))
    np.testing.assert_allclose(expected.sum(), 1)
    np.testing.assert_allclose(np.bincount(replaced) / 200_000, expected, atol=5 * np.sqrt(0.25 / 200_000))
    np.testing.assert_array_equal(contaminated_prior(jnp.asarray(prior), 0.0), prior)
