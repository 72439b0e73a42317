"""Biases, the shrinkage path and its floor, against dense algebra, an ODE solver and a scalar minimiser."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

from w2s_jax import theory
from w2s_jax.tasks import WEAKNESSES
from w2s_jax.types import Task

SCALE = 0.7
PENALTY, TIME = 0.6, 0.4


@jax.jit
def closed_forms(task):
    return {
        "source_bias": theory.source_bias(task),
        "weak_bias": theory.weak_bias(task),
        "bias_inner_product": theory.bias_inner_product(task),
        "population_ridge_risk": theory.population_ridge_risk(task, PENALTY),
        "population_flow_risk": theory.population_flow_risk(task, TIME),
        "population_ridge_floor": theory.population_ridge_floor(task),
        "population_best_penalty": theory.population_best_penalty(task),
    }


def written_task(num_concepts, dim, weak_accuracy, concept_shift, noise_var=0.25, weakness="rotated"):
    """The task of docs/theory.md 1, written again in NumPy (which also spares the suite many small programs)."""
    a, e = weak_accuracy, np.eye(max(num_concepts + 1, dim), dim)
    side = np.sqrt(1 - a**2)
    rivals = e[1:num_concepts].sum(0) / np.sqrt(num_concepts - 1)
    weak_concepts = e[:num_concepts].copy()
    weak_concepts[0] = {
        "rotated": a * e[0] + side * e[num_concepts],
        "shifted": e[0] + side / a * e[num_concepts],
        "noisy": e[0],
        "confused": a * e[0] + side * rivals,
        "opposed": a * e[0] - side * rivals,
    }[weakness]
    source_prior = np.full(num_concepts, concept_shift / (num_concepts - 1))
    source_prior[0] = 1 - concept_shift
    return as_task(
        concepts=e[:num_concepts],
        source_prior=source_prior,
        target_prior=np.eye(num_concepts)[0],
        noise_var=noise_var,
        weak_concepts=weak_concepts,
        weak_prior=np.eye(num_concepts)[0],
        weak_noise_var=noise_var / a**2 if weakness == "noisy" else noise_var,
        feature_var=np.ones(dim),
    )


def as_task(**fields):
    return Task(**{name: jnp.asarray(np.asarray(value, np.float64)) for name, value in fields.items()})


def in_random_frame(task, scale=1.0, seed=1):
    """The task turned by a random rotation, its source prior uneven, its features of variance `scale`."""
    rng = np.random.default_rng(seed)
    fields = {name: np.asarray(value) for name, value in task._asdict().items()}
    num_concepts, dim = fields["concepts"].shape
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    own = fields["source_prior"][0]
    fields["source_prior"] = np.append(own, (1 - own) * rng.dirichlet(np.ones(num_concepts - 1)))
    fields["concepts"], fields["weak_concepts"] = fields["concepts"] @ rotation, fields["weak_concepts"] @ rotation
    fields["feature_var"] = np.full(dim, scale)
    return as_task(**fields)


def refusals(*cases):
    """A test of bad input: of each (call, message) the call must raise a `ValueError` that says this."""

    @pytest.mark.parametrize(("call", "message"), cases)
    def test(call, message):
        with pytest.raises(ValueError, match=message):
            call()

    return test


def assert_slopes(form, points, rtol, *, atol=0.0, step=1e-6):
    """At each point, a row of numbers, the derivatives of a form in them are central differences; by one program."""
    points = np.atleast_2d(np.asarray(points, np.float64))
    moves = step * np.eye(points.shape[1])
    fast = jax.jit(jax.value_and_grad(form, argnums=tuple(range(len(moves)))))
    for point in points:
        ahead, behind = (np.array([fast(*(point + sign * move))[0] for move in moves]) for sign in (1, -1))
        differences = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(fast(*point)[1], differences, rtol=rtol, atol=atol, err_msg=str(point))


def random_example(weakness="rotated", accuracy=0.6, shift=0.5):
    return in_random_frame(written_task(3, 6, accuracy, shift, weakness=weakness), SCALE)


def coefficients(task):
    """(target, source, weak) regression vectors, summed here rather than by the task's own properties."""
    concepts, weak = np.asarray(task.concepts), np.asarray(task.weak_concepts)
    return (
        np.asarray(task.target_prior) @ concepts,
        np.asarray(task.source_prior) @ concepts,
        np.asarray(task.weak_prior) @ weak,
    )


def path_risk(task, penalty):
    """Risk of the minimiser of the population objective s||b - weak||^2 + penalty ||b - source||^2."""
    target, source, weak = coefficients(task)
    covariance = np.diag(np.asarray(task.feature_var))
    b = np.linalg.solve(covariance + penalty * np.eye(len(target)), covariance @ weak + penalty * source)
    return (b - target) @ covariance @ (b - target)


ridge_risk = jax.jit(theory.population_ridge_risk)
flow_risk = jax.jit(theory.population_flow_risk)


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_ridge_path_and_its_floor_match_a_minimiser(weakness):
    for accuracy, shift in ((0.4, 0.2), (0.9, 0.8), (0.8, 0.5)):
        task = random_example(weakness, accuracy, shift)
        got = closed_forms(task)
        target, source, weak = coefficients(task)
        inner = SCALE * (source - target) @ (weak - target)
        np.testing.assert_allclose(got["weak_bias"], path_risk(task, 0.0), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(got["source_bias"], SCALE * np.sum((source - target) ** 2), rtol=1e-10)
        np.testing.assert_allclose(got["bias_inner_product"], inner, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(got["population_ridge_risk"], path_risk(task, PENALTY), rtol=1e-10)
        found = minimize_scalar(lambda x, task=task: path_risk(task, np.exp(x)), bounds=(-30, 30), method="bounded")
        ends = min(found.fun, path_risk(task, 0.0), path_risk(task, 1e12))
        np.testing.assert_allclose(got["population_ridge_floor"], ends, rtol=1e-6, atol=1e-10)
        best = float(got["population_best_penalty"])
        at_best = ridge_risk(task, best)
        np.testing.assert_allclose(at_best, got["population_ridge_floor"], rtol=1e-10, atol=1e-15)


def test_flow_matches_an_ode_solver():
    task = random_example()._replace(feature_var=jnp.asarray(np.linspace(0.2, 1.5, 6)))
    target, source, weak = coefficients(task)
    s = np.asarray(task.feature_var)
    path = solve_ivp(lambda _, b: -2 * s * (b - weak), (0, TIME), source, rtol=1e-10, atol=1e-12)
    expected = s @ (path.y[:, -1] - target) ** 2
    got = closed_forms(task)
    np.testing.assert_allclose(got["population_flow_risk"], expected, rtol=1e-7)
    np.testing.assert_allclose(got["population_ridge_risk"], path_risk(task, PENALTY), rtol=1e-10)


def test_paths_end_at_the_two_biases():
    task = random_example()
    got = closed_forms(task)
    for path, start, end in ((ridge_risk, "weak_bias", "source_bias"), (flow_risk, "source_bias", "weak_bias")):
        np.testing.assert_allclose([path(task, 0.0), path(task, np.inf)], [got[start], got[end]], rtol=1e-12)


# The sentences on the floor (docs/theory.md 3.2).


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_floor_over_the_grid(weakness):
    """It is at least half the smaller bias where c >= 0, under the harmonic value where c < 0, and 0 if noisy.

    It does not fall as the concept shift grows.
    """
    below_half = 0
    for accuracy in (0.1, 0.4, 0.7, 0.9, 0.99):
        floors = []
        for shift in (0.05, 0.3, 0.6, 0.95):
            got = {name: float(x) for name, x in closed_forms(random_example(weakness, accuracy, shift)).items()}
            weak, source, floor = got["weak_bias"], got["source_bias"], got["population_ridge_floor"]
            floors.append(floor)
            smaller, harmonic, slack = min(weak, source), weak * source / (weak + source), 1 - 1e-12
            if weakness == "noisy":
                assert floor == got["population_best_penalty"] == 0
            elif weakness == "opposed" and got["bias_inner_product"] < 0:
                assert floor < harmonic
                below_half += floor < smaller / 2
            elif weakness != "opposed":
                assert got["bias_inner_product"] >= -1e-12
                assert smaller >= floor * slack >= harmonic * slack**2 >= smaller / 2 * slack**3
        assert np.all(np.diff(floors) >= -1e-12)
    assert below_half >= 3 or weakness != "opposed"
