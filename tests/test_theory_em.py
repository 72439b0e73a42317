"""EM on the mixture weights: its steps and its fixed point against plain EM on samples, and maximum likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_theory_one_example import MIXTURE, SCALE, example, values, weak_examples
from w2s_jax import theory
from w2s_jax.theory import em_limit_risk

population_em_prior = jax.jit(theory.population_em_prior)


def plain_em(likelihood, prior, num_steps):
    """EM on one sample, of whose examples every concept has a likelihood `[n K]`."""
    for _ in range(num_steps):
        prior = prior * np.mean(likelihood / (likelihood @ prior)[:, None], 0)
    return prior


@pytest.mark.slow
def test_population_steps_are_those_of_plain_em():
    """A sample so large that it stands for the population: five steps, for the model's own teacher and another."""
    for task in (example(prior=MIXTURE), example("rotated", 0.6, prior=MIXTURE)):
        *_, labels, means = weak_examples(np.random.default_rng(1), task, 400_000)
        likelihood = np.exp(-((labels[:, None] - means) ** 2) / (2 * float(task.noise_var)))
        for steps in (0, 1, 5):
            expected = plain_em(likelihood, np.asarray(task.source_prior), steps)
            np.testing.assert_allclose(population_em_prior(task, steps), expected, atol=4e-3)
        np.testing.assert_allclose(population_em_prior(task, 1), values(task)["prior"], rtol=1e-10)


@pytest.mark.slow
def test_the_fixed_point_is_the_mixture_and_the_rate_is_an_eigenvalue():
    task = example(prior=MIXTURE)
    start = task._replace(source_prior=task.target_prior)
    np.testing.assert_allclose(population_em_prior(start, 3), MIXTURE, atol=1e-8)
    early, late, later = (np.asarray(population_em_prior(task, steps)) - MIXTURE for steps in (0, 30, 31))
    assert np.abs(late).max() < 0.01 * np.abs(early).max()
    slowest = 1 - np.sort(np.linalg.eigvals(values(start)["transition"]).real)[0]
    np.testing.assert_allclose(np.linalg.norm(later) / np.linalg.norm(late), slowest, rtol=2e-3)


def test_em_limit_is_between_its_ends():
    """More than were the concepts seen, to which it tends without noise; the source prior plays no part."""
    seen = SCALE * (1 - MIXTURE @ MIXTURE) / 100
    by_noise = [float(em_limit_risk(example(prior=MIXTURE, noise_var=v), 100)) for v in (1e-4, 1e-2, 0.25, 1.0)]
    assert seen < by_noise[0] < 1.05 * seen
    assert np.all(np.diff(by_noise) > 0)
    moved = example(prior=MIXTURE, shift=0.9)
    np.testing.assert_allclose(em_limit_risk(moved, 100), by_noise[2], rtol=1e-9)


def test_em_limit_has_no_value_at_the_boundary_or_for_another_teacher():
    inside = example(prior=MIXTURE)
    assert jnp.isfinite(em_limit_risk(inside, 100))
    for task in (
        example(),
        example(prior=np.array([0.5, 0.5, 0.0])),
        example("rotated", 0.6, prior=MIXTURE),
        inside._replace(weak_noise_var=2 * inside.noise_var),
        inside._replace(weak_prior=jnp.asarray(np.array([0.4, 0.3, 0.3]))),
    ):
        assert jnp.isnan(em_limit_risk(task, 100))
