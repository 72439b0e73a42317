"""Symmetries of every student, on drawn problems: rotation, permutation, scale; and the ends of the ridge path."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import w2s_jax as w2s
from w2s_jax.types import Dataset, Task

checked = settings(max_examples=25, derandomize=True, deadline=None, database=None)
seeds = st.integers(0, 2**32 - 1)
# Sizes are few, since each is a program of its own: more rows than features, and fewer.
sizes = st.sampled_from([(12, 5), (4, 6)])
NUM_CONCEPTS, NUM_STEPS = 3, 3


class Problem(NamedTuple):
    """All that the students read."""

    task: Task
    data: Dataset
    penalty: float
    time: float


@st.composite
def problems(draw) -> Problem:
    """Concepts at any angle, a mixture for a source, and labels of a teacher who is none of the concepts."""
    (num_samples, dim), rng = draw(sizes), np.random.default_rng(draw(seeds))
    concepts = rng.standard_normal((NUM_CONCEPTS, dim))
    features = rng.standard_normal((num_samples, dim))
    weak = rng.dirichlet(np.ones(NUM_CONCEPTS)) @ concepts + 0.3 * rng.standard_normal(dim)
    prior = rng.dirichlet(np.full(NUM_CONCEPTS, 3.0))
    noise_var = draw(st.floats(0.1, 2.0))
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
    penalty, time = (draw(st.floats(0.01, 10.0)) for _ in range(2))
    return Problem(task, Dataset(features, labels), penalty, time)


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


def students(problem: Problem) -> tuple[dict, dict]:
    return fitted(jax.tree.map(jnp.asarray, problem))


def assert_same(one: dict, other: dict, size=1.0) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-8, atol=1e-8 * size, err_msg=name)


def turned(problem: Problem, matrix: np.ndarray) -> Problem:
    """Features and concepts (hence the source) in another frame."""
    task, data = problem.task, problem.data
    concepts = task.concepts @ matrix.T
    task = task._replace(concepts=concepts, weak_concepts=concepts)
    return problem._replace(task=task, data=data._replace(features=data.features @ matrix.T))


@pytest.mark.slow
@checked
@given(problems(), seeds)
def test_coefficients_turn_with_the_frame(problem, seed):
    dim = problem.data.features.shape[1]
    matrix = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0]
    (coefs, weights), (other_coefs, other_weights) = students(problem), students(turned(problem, matrix))
    assert_same({name: matrix @ coef for name, coef in coefs.items()}, other_coefs)
    assert_same(weights, other_weights)


@checked
@given(problems(), st.permutations(range(NUM_CONCEPTS)))
def test_weights_follow_the_order_of_the_concepts(problem, order):
    task, order = problem.task, np.array(order)
    permuted = task._replace(concepts=task.concepts[order], source_prior=task.source_prior[order])
    (coefs, weights), (other_coefs, other_weights) = students(problem), students(problem._replace(task=permuted))
    assert_same({name: w[order] for name, w in weights.items()}, other_weights)
    assert_same(coefs, other_coefs)


@checked
@given(problems(), seeds)
def test_the_order_of_the_examples_is_of_no_consequence(problem, seed):
    order = np.random.default_rng(seed).permutation(len(problem.data.labels))
    permuted = problem._replace(data=Dataset(problem.data.features[order], problem.data.labels[order]))
    for one, other in zip(students(problem), students(permuted)):
        assert_same(one, other)


@checked
@given(problems(), st.floats(0.01, 100.0))
def test_risk_scales_with_the_square_of_the_labels(problem, scale):
    task, data = problem.task, problem.data
    larger = task._replace(concepts=scale * task.concepts, noise_var=scale**2 * task.noise_var)
    scaled = problem._replace(task=larger, data=data._replace(labels=scale * data.labels))
    (coefs, weights), (other_coefs, other_weights) = students(problem), students(scaled)
    assert_same(weights, other_weights)
    risk = {name: w2s.excess_risk(coef, jnp.asarray(task.concepts[0])) for name, coef in coefs.items()}
    target = jnp.asarray(scale * task.concepts[0])
    other_risk = {name: w2s.excess_risk(coef, target) for name, coef in other_coefs.items()}
    assert_same({name: scale**2 * r for name, r in risk.items()}, other_risk, size=scale**2)


@checked
@given(problems(), st.floats(1e-9, 1e9))
def test_a_penalty_leads_from_least_squares_to_the_source(problem, penalty):
    # By an exact inequality at each end, b0 = least squares and lam the smallest eigenvalue that is not 0:
    # ||b - b0|| <= penalty ||b0 - beta_P|| / (penalty + lam),  ||b - beta_P|| <= ||m - S beta_P|| / penalty.
    coefs, _ = students(problem._replace(penalty=penalty))
    features, labels = problem.data
    start, end, coef = problem.task.source_coef, coefs["least_squares"], np.asarray(coefs["ridge_to_source"])
    lam = np.linalg.svd(features, compute_uv=False).min() ** 2 / len(labels)
    norm = partial(np.linalg.norm, ord=2)
    assert norm(coef - end) <= penalty / (penalty + lam) * norm(end - start) + 1e-9
    pull = norm(features.T @ (labels - features @ start)) / len(labels)
    assert norm(coef - start) <= pull / penalty + 1e-9
    assert norm(coef - start) <= norm(end - start) + 1e-9
