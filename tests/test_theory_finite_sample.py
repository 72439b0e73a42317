"""Finite samples: exact risks against simulated fits, Marchenko-Pastur against quadrature and against its own rate.

Simulated fits at a penalty and of refined labels are those of test_closed_forms.py and test_pipeline.py, and rows of
`sims/checks/finite_sample.py`, which the slow suite runs (test_verify.py).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import assert_mean, assert_mean_rejects, assert_mean_sharply
from tests.oracles import marchenko_pastur_mean
from tests.test_theory_population import in_random_frame, written_task
from w2s_jax import theory

least_squares_risk, ridge_risk, weak_bias, population_ridge_risk = (
    jax.jit(f) for f in (theory.least_squares_risk, theory.ridge_risk, theory.weak_bias, theory.population_ridge_risk)
)
NOISE_VAR = 0.25


def example(dim=8, weakness="rotated", mixture=False, scale=1.0, **changes):
    options = {"num_concepts": 3, "dim": dim, "weak_accuracy": 0.7, "concept_shift": 0.5, "noise_var": NOISE_VAR}
    task = in_random_frame(written_task(**(options | {"weakness": weakness} | changes)), scale)
    return task._replace(weak_prior=jnp.asarray(np.array([0.5, 0.3, 0.2]))) if mixture else task


def simulate_naive(rng, task, n, count):
    """Risks of the least-squares fit nearest to the source, on weak labels, each of which draws its concept."""
    concepts, prior = np.asarray(task.weak_concepts), np.asarray(task.weak_prior)
    scale, d = float(task.feature_var[0]), concepts.shape[1]
    features = rng.normal(size=(count, n, d)) * np.sqrt(scale)
    drawn = concepts[rng.choice(len(prior), size=(count, n), p=prior)]
    labels = np.sum(features * drawn, -1) + rng.normal(size=(count, n)) * np.sqrt(float(task.weak_noise_var))
    source = np.asarray(task.source_prior) @ np.asarray(task.concepts)
    target = np.asarray(task.target_prior) @ np.asarray(task.concepts)
    coefs = source + (np.linalg.pinv(features) @ (labels - features @ source)[..., None])[..., 0]
    return scale * np.sum((coefs - target) ** 2, -1)


@pytest.mark.parametrize(
    ("n", "options"),
    [
        (18, {}),
        (60, {"weakness": "noisy", "weak_accuracy": 0.5}),
        (40, {"scale": 0.5, "weakness": "opposed"}),
        (30, {"mixture": True, "scale": 2.0}),
        (5, {"dim": 20}),
        (10, {"dim": 24, "mixture": True, "scale": 1.5}),
        (10, {"dim": 24, "weakness": "noisy", "weak_accuracy": 0.25}),
    ],
    ids=str,
)
def test_least_squares_risk_is_exact(n, options):
    task = example(**options)
    samples = simulate_naive(np.random.default_rng(n), task, n, 4000)
    expected = least_squares_risk(task, n)
    assert_mean_sharply(samples, expected)


def test_mixture_teacher_noise_is_told_from_plain_noise():
    """The mixture term has the factor (d + 2)(n - 2)/(n + 2), where a noise of variance tau would have d."""
    task = example(dim=4, mixture=True)._replace(weak_noise_var=jnp.array(0.0))
    prior, concepts = np.asarray(task.weak_prior), np.asarray(task.weak_concepts)
    spread = prior @ np.sum(concepts**2, -1) - np.sum((prior @ concepts) ** 2)
    samples = simulate_naive(np.random.default_rng(5), task, 16, 16_000) - weak_bias(task)
    expected = spread * 6 * 14 / 18 / 11
    np.testing.assert_allclose(least_squares_risk(task, 16) - weak_bias(task), expected, rtol=1e-10)
    assert_mean(samples, expected)
    assert_mean_rejects(samples, spread * 4 / 11)


def test_least_squares_risk_is_infinite_between_unless_noise_free():
    task = example()
    assert all(jnp.isinf(least_squares_risk(task, n)) for n in (7, 8, 9))
    quiet = task._replace(weak_noise_var=jnp.asarray(np.zeros(())))
    np.testing.assert_allclose(least_squares_risk(quiet, 8), weak_bias(task), rtol=1e-12)
    assert jnp.isinf(ridge_risk(task, 8, 0.0))
    np.testing.assert_allclose(ridge_risk(quiet, 8, 0.0), weak_bias(task), rtol=1e-12)


def traces(rng, n, d, penalty, count):
    """(1/d) tr S^j (S + penalty)^-2 for j = 0, 1, 2, one row a replicate."""
    features = rng.normal(size=(count, n, d))
    eigenvalues = np.linalg.eigvalsh(features.transpose(0, 2, 1) @ features / n)
    return np.stack([np.mean(eigenvalues**j / (eigenvalues + penalty) ** 2, -1) for j in range(3)], -1)


@pytest.mark.parametrize("penalty", [0.0, 0.03, 0.4, 3.0])
@pytest.mark.parametrize("gamma", [0.05, 0.5, 0.95, 1.5, 8.0])
def test_ridge_terms_are_integrals_of_the_marchenko_pastur_distribution(gamma, penalty):
    """Each term alone (by a task in which the others vanish), against adaptive quadrature of the density."""
    mean, d = partial(marchenko_pastur_mean, gamma=gamma), 8
    n = d / gamma
    loud = written_task(num_concepts=2, dim=d, weak_accuracy=1.0, concept_shift=0.0, noise_var=1.0, weakness="noisy")
    silent = {"num_concepts": 2, "dim": d, "noise_var": 0.0}
    far_source = written_task(**silent, weak_accuracy=1.0, concept_shift=0.5, weakness="noisy")
    far_weak = written_task(**silent, weak_accuracy=0.5, concept_shift=0.0)
    both = written_task(**silent, weak_accuracy=0.5, concept_shift=0.5)
    first = mean(lambda x: x / (x + penalty) ** 2 if x + penalty > 0 else 0.0)
    zeroth = mean(lambda x: (penalty / (x + penalty)) ** 2 if x + penalty > 0 else 1.0)
    second = mean(lambda x: (x / (x + penalty)) ** 2 if x + penalty > 0 else 0.0)
    tolerance = {"rtol": 1e-7, "atol": 1e-9}
    np.testing.assert_allclose(ridge_risk(loud, n, penalty), gamma * first, **tolerance)
    np.testing.assert_allclose(ridge_risk(far_source, n, penalty), 0.5 * zeroth, **tolerance)
    np.testing.assert_allclose(ridge_risk(far_weak, n, penalty), second, **tolerance)
    mixed = second + 0.5 * zeroth + 2 * 0.25 * penalty * first
    np.testing.assert_allclose(ridge_risk(both, n, penalty), mixed, **tolerance)


def slope(x, y):
    return np.polyfit(np.log(x), np.log(y), 1)[0]


def test_trace_terms_approach_their_limit_as_one_over_d():
    """Gaussian features at gamma = 1/2: the simulated finite-d risk leaves its limit at rate 1/d over six sizes."""
    rng, sizes, penalty = np.random.default_rng(11), np.array([2, 4, 8, 16, 24, 32]), 0.3
    # a task whose only risk is the noise term, gamma t1 at sigma = 1
    noise = written_task(num_concepts=2, dim=2, weak_accuracy=1.0, concept_shift=0.0, noise_var=1.0, weakness="noisy")
    limit = 2 * float(ridge_risk(noise, 4, penalty))
    gaps = []
    for d in sizes:
        first = traces(rng, 2 * d, d, penalty, 12_000 if d < 16 else 4000)[:, 1]
        gaps.append(abs(first.mean() - limit))
        assert first.std() / np.sqrt(len(first)) < 0.1 * gaps[-1]
    print("gaps", gaps, "slope", slope(sizes, gaps))
    assert abs(slope(sizes, gaps) + 1) < 0.1


def test_ridge_risk_approaches_the_population_as_one_over_n():
    task = example()
    sizes = np.geomspace(1e2, 1e5, 7)
    for penalty in (0.1, 1.0):
        gaps = [float(ridge_risk(task, n, penalty) - population_ridge_risk(task, penalty)) for n in sizes]
        assert abs(slope(sizes, np.abs(gaps)) + 1) < 0.02


def test_least_squares_approaches_the_weak_bias_as_one_over_n():
    """In simulation: the mean squared distance of the fit from the teacher, over five sizes, and by the formula."""
    task = example()
    teacher = task._replace(target_prior=task.weak_prior, concepts=task.weak_concepts)  # its target is the weak model
    rng, sizes = np.random.default_rng(12), np.array([40.0, 80.0, 160.0, 320.0, 640.0])
    distances = [simulate_naive(rng, teacher, int(n), 1000).mean() for n in sizes]
    assert abs(slope(sizes - 9, distances) + 1) < 0.03  # n - d - 1 is the exact abscissa
    large = sizes * 100
    gaps = [float(least_squares_risk(task, float(n)) - weak_bias(task)) for n in large]
    assert abs(slope(large, gaps) + 1) < 0.01


def test_least_squares_is_the_limit_of_ridge_at_no_penalty():
    def wide(d):
        return {"feature_var": np.ones(d), "concepts": np.eye(3, d), "weak_concepts": np.eye(3, d)}

    small = example(dim=8)
    large = [small._replace(**{name: jnp.asarray(x) for name, x in wide(d).items()}) for d in (80, 8000)]
    for gamma in (0.5, 2.0):
        gaps = []
        for big in large:
            n = big.concepts.shape[1] / gamma
            gaps.append(abs(float(ridge_risk(big, n, 0.0) / least_squares_risk(big, n) - 1)))
        assert gaps[1] < 2e-4
        assert 80 < gaps[0] / gaps[1] < 120


@pytest.mark.parametrize("name", ["least_squares", "ridge"])
def test_traced_sample_size_is_one_program_and_differentiable(name):
    task, sizes = example(), jnp.array([4.0, 20.0, 50.0, 500.0])

    @jax.jit
    def risk(n, penalty=0.2):
        return least_squares_risk(task, n) if name == "least_squares" else ridge_risk(task, n, penalty)

    np.testing.assert_allclose(jax.jit(jax.vmap(risk))(sizes), [risk(float(n)) for n in sizes], rtol=1e-12)
    difference = (risk(50.0 + 1e-5) - risk(50.0 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(risk)(50.0), difference, rtol=1e-6)
    assert jnp.isfinite(jax.grad(risk, argnums=1)(50.0, 0.0))
