"""Symmetries of every student, on drawn problems: rotation, permutation, scale."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import w2s_jax as w2s
from w2s_jax.types import Dataset, Task

NUM_CONCEPTS, NUM_STEPS = 3, 3


class Problem(NamedTuple):
    """All that the students read."""

    task: Task
    data: Dataset
    penalty: float
    time: float


def draw_problem(rng, num_samples: int, dim: int) -> Problem:
    """Concepts at any angle, a mixture for a source, and labels of a teacher who is none of the concepts."""
    concepts = rng.standard_normal((NUM_CONCEPTS, dim))
    features = rng.standard_normal((num_samples, dim))
    weak = rng.dirichlet(np.ones(NUM_CONCEPTS)) @ concepts + 0.3 * rng.standard_normal(dim)
    prior = rng.dirichlet(np.full(NUM_CONCEPTS, 3.0))
    noise_var = rng.uniform(0.1, 2.0)
    labels = features @ weak + np.sqrt(noise_var) * rng.standard_normal(num_samples)
    task = Task(
        concepts=concepts,
        source_prior=prior,
        target_prior=np.eye(NUM_CONCEPTS)[0],
        noise_var=np.array(noise_var),
        weak_concepts=concepts,
        weak_prior=np.eye(NUM_CONCEPTS)[0],
        weak_noise_var=np.array(noise_var),
        feature_var=np.ones(dim),
    )
    return Problem(task, Dataset(features, labels), *np.exp(rng.uniform(-4.6, 2.3, 2)))


@jax.jit
def fitted(problem: Problem) -> tuple[dict, dict]:
    """What every student learns: its coefficients `[d]`, and its weights on the concepts `[K]` where it has any."""
    task, data, penalty, time = problem
    drawn, source = w2s.moments(data), task.source_coef
    log_posterior = w2s.concept_log_posterior(task, data)
    answers = w2s.refine_labels(jax.random.key(0), task, data.features, log_posterior, draw="mean")
    weights = {
        "hull": w2s.hull_least_squares(drawn, task.concepts),
        "em_prior": w2s.em_prior(task, data, NUM_STEPS),
        "posterior": jnp.exp(log_posterior),
    }
    coefs = {
        "ridge_to_source": w2s.ridge_to_source(drawn, source, penalty),
        "least_squares": w2s.least_squares(drawn, source),
        "gradient_flow": w2s.gradient_flow(drawn, source, time),
        "refinement": w2s.least_squares(w2s.moments(Dataset(data.features, answers)), source),
    }
    return coefs | {name: w @ task.concepts for name, w in weights.items()}, weights


# Each change gives the other problem, and what it makes of coefficients and of weights.


def same(x):
    return x


def turned(problem: Problem, rng):
    task, data = problem.task, problem.data
    matrix = np.linalg.qr(rng.standard_normal(2 * data.features.shape[1:]))[0]
    task = task._replace(concepts=task.concepts @ matrix.T, weak_concepts=task.weak_concepts @ matrix.T)
    changed = problem._replace(task=task, data=data._replace(features=data.features @ matrix.T))
    return changed, lambda coef: matrix @ coef, same


def concepts_in_another_order(problem: Problem, rng):
    task, order = problem.task, rng.permutation(NUM_CONCEPTS)
    task = task._replace(concepts=task.concepts[order], source_prior=task.source_prior[order])
    return problem._replace(task=task), same, lambda weights: weights[order]


def examples_in_another_order(problem: Problem, rng):
    order = rng.permutation(len(problem.data.labels))
    return problem._replace(data=jax.tree.map(lambda x: x[order], problem.data)), same, same


def scaled(problem: Problem, rng):
    task, data, scale = problem.task, problem.data, np.exp(rng.uniform(-4.6, 4.6))
    larger = task._replace(concepts=scale * task.concepts, noise_var=scale**2 * task.noise_var)
    return (
        problem._replace(task=larger, data=data._replace(labels=scale * data.labels)),
        lambda coef: scale * coef,
        same,
    )


@pytest.mark.parametrize("size", [(12, 5), (4, 6)], ids=["n>d", "n<d"])
@pytest.mark.parametrize("change", [turned, concepts_in_another_order, examples_in_another_order, scaled])
def test_students_follow_a_change_of_the_problem(change, size):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        problem = draw_problem(rng, *size)
        changed, of_coef, of_weights = change(problem, rng)
        (coefs, weights), (other_coefs, other_weights) = fitted(problem), fitted(changed)
        for name, coef in coefs.items():
            expected = of_coef(coef)
            atol = 1e-8 * np.abs(expected).max()
            np.testing.assert_allclose(other_coefs[name], expected, rtol=1e-8, atol=atol, err_msg=name)
        for name, weight in weights.items():
            np.testing.assert_allclose(other_weights[name], of_weights(weight), rtol=1e-8, atol=1e-8, err_msg=name)
