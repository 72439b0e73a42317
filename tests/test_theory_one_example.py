"""Refinement by one weak example: the quadrature against identities, an exact integral, and simulated examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import assert_mean, assert_mean_sharply
from tests.test_theory_population import in_random_frame, written_task
from w2s_jax import theory

SCALE = 0.6
DIM = 5


@jax.jit
def forms(task, assumed_noise_var):
    options = {"assumed_noise_var": assumed_noise_var}
    return {
        "transition": theory.one_example_transition(task, **options),
        "prior": theory.one_example_refinement_prior(task, **options),
        "spread": theory.one_example_spread(task, **options),
        "self_coef": theory.self_refinement_coef(task, **options),
        "self_bias": theory.self_refinement_bias(task, **options),
    }


def values(task, assumed_noise_var=None):
    return forms(task, task.noise_var if assumed_noise_var is None else assumed_noise_var)


def example(weakness="rotated", accuracy=1.0, *, scale=SCALE, num_concepts=3, prior=None, shift=0.5, noise_var=0.25):
    """Turned at random, source prior uneven; `prior` makes it a mixture."""
    task = in_random_frame(written_task(num_concepts, DIM, accuracy, shift, noise_var, weakness), scale)
    mixture = {} if prior is None else dict.fromkeys(("target_prior", "weak_prior"), jnp.asarray(prior))
    return task._replace(**mixture)


MIXTURE = np.array([0.5, 0.3, 0.2])


@pytest.mark.parametrize("noise_var", [0.05, 0.25, 2.0])
def test_the_source_prior_is_stationary_and_the_transition_reversible(noise_var):
    """The model's own teacher: alpha C = alpha, alpha_j C_jk symmetric, rows of sum 1."""
    for shift in (0.3, 0.9):
        task = example(shift=shift, noise_var=noise_var)
        alpha, transition = np.asarray(task.source_prior), np.asarray(values(task)["transition"])
        flow = alpha[:, None] * transition
        np.testing.assert_allclose(transition.sum(1), 1, atol=1e-8)
        np.testing.assert_allclose(alpha @ transition, alpha, atol=1e-8)
        np.testing.assert_allclose(flow, flow.T, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weakness", "accuracy", "noise_var", "ratio", "tolerance"),
    [
        ("rotated", 0.7, 0.25, 1.0, 1e-7),
        ("rotated", 0.4, 0.25, 8.0, 1e-8),
        ("noisy", 0.3, 0.25, 1.0, 2e-5),
        ("noisy", 0.3, 0.25, 11.0, 1e-8),
        ("shifted", 0.7, 0.1, 1.0, 1e-5),
        ("shifted", 0.5, 0.05, 1.0, 5e-3),
    ],
)
def test_two_concepts_match_the_exact_integral(weakness, accuracy, noise_var, ratio, tolerance):
    """The contour integral of 3.6 at a prompt of one example, also where the posterior assumes too little noise."""
    task = example(weakness, accuracy, num_concepts=2, noise_var=noise_var, scale=1.0)
    assumed = ratio * noise_var
    mean, square = integral(task, assumed)
    got = values(task, assumed)
    np.testing.assert_allclose(got["transition"][0], [1 - mean, mean], atol=tolerance)
    spread = (1 - 2 * mean + square) + square - (1 - mean) ** 2 - mean**2
    np.testing.assert_allclose(got["spread"], spread, atol=tolerance)


@jax.jit
def integral(task, assumed_noise_var):
    """E w and E w^2 of the rival."""
    options = {"assumed_noise_var": assumed_noise_var}
    return [theory.expected_rival_weights(task, 1, power=power, **options)[1] for power in (1, 2)]


def weak_examples(rng, task, *shape):
    """The concepts that are shown, features, labels, and what each concept would answer."""
    shown = rng.choice(3, size=shape, p=np.asarray(task.weak_prior))
    features = rng.normal(size=(*shape, DIM)) * np.sqrt(float(task.feature_var[0]))
    noise = rng.normal(size=shape) * np.sqrt(float(task.weak_noise_var))
    labels = np.sum(features * np.asarray(task.weak_concepts)[shown], -1) + noise
    return shown, features, labels, features @ np.asarray(task.concepts).T


@pytest.mark.slow
def test_means_match_simulated_examples():
    """A noisier teacher, where another noise than its own is assumed: `sims/checks/one_example.py` has the rest."""
    task, assumed = example(prior=MIXTURE)._replace(weak_noise_var=jnp.asarray(np.array(0.6))), 0.4
    got, s = values(task, assumed), float(task.feature_var[0])
    shown, features, labels, means = weak_examples(np.random.default_rng(24), task, 300_000)
    weights = np.asarray(task.source_prior) * np.exp(-((labels[:, None] - means) ** 2) / (2 * assumed))
    weights /= weights.sum(1, keepdims=True)
    answers = np.sum(weights * means, 1)

    coef = features * answers[:, None] / s
    for samples, expected, scale in (
        (weights, got["prior"], None),
        (np.sum((weights - weights.mean(0)) ** 2, 1), got["spread"], None),
        (coef, got["self_coef"], np.linalg.norm(got["self_coef"])),
    ):
        assert_mean_sharply(samples, expected, scale)
    for j in np.flatnonzero(task.weak_prior):
        assert_mean(weights[shown == j], got["transition"][j])

    bias = s * np.sum((np.asarray(got["self_coef"]) - np.asarray(task.target_coef)) ** 2)
    np.testing.assert_allclose(got["self_bias"], bias, rtol=1e-9)


def test_a_concept_that_the_source_rules_out_stays_out():
    task = example(prior=MIXTURE)._replace(source_prior=jnp.asarray(np.array([0.6, 0.0, 0.4])))
    got = values(task)
    assert np.all(np.asarray(got["transition"])[:, 1] == 0)
    np.testing.assert_allclose(got["transition"].sum(1), 1, atol=1e-7)


@pytest.mark.parametrize("weakness", ["confused", "opposed"])
def test_a_teacher_that_leans_on_rivals_has_no_value(weakness):
    """Its own row only: a teacher that never shows that concept is fine."""
    task = example(weakness, 0.7)
    got = values(task)
    assert np.all(np.isnan(got["transition"][0])) and np.all(np.isfinite(got["transition"][1:]))
    assert np.all(np.isnan(got["prior"])) and np.isnan(got["self_bias"])
    elsewhere = values(task._replace(weak_prior=jnp.asarray(np.array([0.0, 0.5, 0.5]))))
    assert all(np.all(np.isfinite(elsewhere[name])) for name in ("prior", "spread", "self_coef"))
