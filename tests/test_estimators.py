"""Fine-tuning: against scikit-learn, SciPy and dense NumPy; limits and rates; derivatives where eigenvalues meet."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp
from sklearn.linear_model import Ridge

from w2s_jax.estimators import gradient_flow, least_squares, ridge_to_source
from w2s_jax.sampling import design_moments, moments, sample_design
from w2s_jax.tasks import make_task
from w2s_jax.types import Dataset, Moments

RTOL = 1e-10
SHAPES = [(40, 5), (5, 5), (3, 5), (1, 4)]  # n, d


def problem(num_samples, dim, seed=0):
    """Features, labels and a source, as NumPy arrays."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_samples, dim)), rng.standard_normal(num_samples), rng.standard_normal(dim)


def orthonormal_problem(num_samples=12, dim=4):
    """Features whose gram matrix is the identity: every eigenvalue meets every other."""
    features, labels, source = problem(num_samples, dim)
    return np.linalg.qr(features)[0] * np.sqrt(num_samples), labels, source


def moments_of(features, labels):
    return moments(Dataset(jnp.asarray(features), jnp.asarray(labels)))


# --- oracles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", [1e-3, 0.1, 1, 30.0])
def test_ridge_equals_scikit_learn(shape, penalty):
    features, labels, source = problem(*shape)
    model = Ridge(alpha=shape[0] * penalty, fit_intercept=False, solver="svd", tol=1e-14)
    expected = source + model.fit(features, labels - features @ source).coef_
    result = ridge_to_source(moments_of(features, labels), jnp.asarray(source), penalty)
    np.testing.assert_allclose(result, expected, rtol=1e-8, atol=1e-10)
    wrong = ridge_to_source(moments_of(features, labels), jnp.asarray(source), 1.1 * penalty)
    assert np.abs(wrong - expected).max() > 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_least_squares_equals_numpy(shape):
    features, labels, source = problem(*shape)
    drawn = moments_of(features, labels)
    nearest = source + np.linalg.pinv(features) @ (labels - features @ source)
    for result in (least_squares(drawn, jnp.asarray(source)), ridge_to_source(drawn, jnp.asarray(source), 0)):
        np.testing.assert_allclose(result, nearest, rtol=1e-8, atol=1e-10)
    shortest = np.linalg.lstsq(features, labels)[0]
    np.testing.assert_allclose(least_squares(drawn), shortest, rtol=1e-8, atol=1e-10)
    if shape[0] < shape[1]:  # interpolates, and moves from the source within the span of the rows only
        np.testing.assert_allclose(features @ np.asarray(nearest), labels, atol=1e-10)
        assert np.abs(nearest - shortest).max() > 0.1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("time", [0.1, 1, 10.0])
def test_gradient_flow_solves_its_differential_equation(shape, time):
    features, labels, source = problem(*shape)

    def descent(_, coef):  # minus the gradient of the mean squared error
        return 2 * features.T @ (labels - features @ coef) / shape[0]

    solved = solve_ivp(descent, (0.0, time), source, method="DOP853", rtol=1e-12, atol=1e-12)
    result = gradient_flow(moments_of(features, labels), jnp.asarray(source), time)
    np.testing.assert_allclose(result, solved.y[:, -1], rtol=1e-8, atol=1e-9)


# --- limits ---------------------------------------------------------------------------------------------------------

LIMITS = [
    # estimator, where it ends, parameters on the way there, order in 1 / step of ten
    pytest.param(ridge_to_source, "least_squares", [1e-4, 1e-5, 1e-6], id="penalty-to-0"),
    pytest.param(ridge_to_source, "source", [1e4, 1e5, 1e6], id="penalty-to-infinity"),
    pytest.param(gradient_flow, "source", [1e-4, 1e-5, 1e-6], id="time-to-0"),
]


@pytest.mark.parametrize("shape", [(40, 5), (3, 5)])
@pytest.mark.parametrize(("estimator", "end", "path"), LIMITS)
def test_limits_are_met_at_first_order(estimator, end, path, shape):
    features, labels, source = problem(*shape)
    drawn, source = moments_of(features, labels), jnp.asarray(source)
    limit = source if end == "source" else least_squares(drawn, source)
    distance = [float(jnp.linalg.norm(estimator(drawn, source, parameter) - limit)) for parameter in path]
    np.testing.assert_allclose(distance[0] / np.array(distance), [1, 10, 100], rtol=1e-2)
    assert distance[-1] < 1e-3


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("shape", [(40, 5), (3, 5), (16, 32)])
def test_flow_meets_least_squares_and_stays_there(shape, dtype):
    # However long it runs: where n < d, rounding in the null space of the gram must not grow with time.
    features, labels, source = problem(*shape)
    drawn = jax.tree.map(lambda x: x.astype(dtype), moments_of(features, labels))
    source = jnp.asarray(source, dtype)
    for time in (1e3, 1e6, 1e12, np.inf):
        result = gradient_flow(drawn, source, time)
        np.testing.assert_allclose(result, least_squares(drawn, source), rtol=2e-6, atol=2e-6)


def test_zero_penalty_and_zero_time_are_the_ends():
    features, labels, source = problem(40, 5)
    drawn, source = moments_of(features, labels), jnp.asarray(source)
    np.testing.assert_array_equal(gradient_flow(drawn, source, 0), source)
    np.testing.assert_array_equal(ridge_to_source(drawn, source, 0), least_squares(drawn, source))
    np.testing.assert_array_equal(least_squares(drawn), least_squares(drawn, jnp.zeros(5)))


def test_a_feature_that_is_never_seen_stays_at_the_source():
    drawn, source = Moments(jnp.diag(jnp.array([2.0, 0.0])), jnp.array([2.0, 0.0]), jnp.array(9.0)), jnp.ones(2) * 3
    for result in (least_squares(drawn, source), gradient_flow(drawn, source, 50.0)):
        np.testing.assert_allclose(result, [1.0, 3.0], rtol=RTOL)


def test_flow_shrinks_population_moments_uniformly():
    # On gram = s I every coefficient carries the weight 1 - e^{-2 s t} on the labels, or s / (s + penalty).
    s, cross, source = 0.3, jnp.array([1.0, -2.0, 0.5]), jnp.array([0.1, 0.2, 0.3])
    drawn, solution = Moments(s * jnp.eye(3), cross, jnp.array(9.0)), cross / s
    for result, weight in (
        (gradient_flow(drawn, source, 0.7), 1 - np.exp(-2 * s * 0.7)),
        (ridge_to_source(drawn, source, 0.7), s / (s + 0.7)),
    ):
        np.testing.assert_allclose(result, source + weight * (solution - source), rtol=RTOL)


# --- derivatives ----------------------------------------------------------------------------------------------------

ESTIMATORS = {
    "least_squares": lambda drawn, source, _: least_squares(drawn, source),
    "ridge_to_source": ridge_to_source,
    "gradient_flow": gradient_flow,
}
POINTS = {
    "n>d": problem(12, 4),
    "n<d": problem(3, 5),
    "gram=I": orthonormal_problem(),
}


def central_difference(function, x, step=1e-5):
    """The gradient of `function` at a vector `x`, entry by entry."""
    function = jax.jit(function)
    return np.array([(function(x + e) - function(x - e)) / (2 * step) for e in step * np.eye(x.size)])


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_gradients_equal_central_differences(name, point):
    # Through eigh they would divide by eigenvalue gaps: NaN at gram = I, wrong at n < d.
    features, labels, source = (jnp.asarray(x) for x in POINTS[point])
    direction = jnp.cos(jnp.arange(source.size))

    def loss(packed):
        rows, y, origin, parameter = unpack(packed)
        return direction @ ESTIMATORS[name](moments(Dataset(rows, y)), origin, parameter)

    packed, unpack = ravel_pytree((features, labels, source, 0.4))
    expected = central_difference(loss, packed)
    size = np.abs(expected).max()
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(packed), expected, rtol=1e-6, atol=1e-8 * size)


@pytest.mark.parametrize("point", ["n<d", "gram=I"])
@pytest.mark.parametrize("name", ["ridge_to_source", "gradient_flow"])
def test_second_derivatives_in_the_parameter(name, point):
    # Newton steps on a penalty or a stopping time: a gram that does not move may have any eigenvalues.
    features, labels, source = (jnp.asarray(x) for x in POINTS[point])
    drawn = moments_of(features, labels)

    def loss(parameter):
        return (ESTIMATORS[name](drawn, source, parameter) ** 2).sum()

    gradient, step = jax.jit(jax.grad(loss)), 1e-5
    expected = (gradient(0.4 + step) - gradient(0.4 - step)) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.grad(jax.grad(loss)))(0.4), expected, rtol=1e-7)


@pytest.mark.parametrize("name", ["ridge_to_source", "gradient_flow"])
def test_second_derivatives_in_the_features(name):
    # Where eigenvalues lie apart; where they meet, only first derivatives are promised.
    features, labels, source = (jnp.asarray(x) for x in POINTS["n>d"])

    def loss(rows):
        return (ESTIMATORS[name](moments(Dataset(rows, labels)), source, 0.4) ** 2).sum()

    gradient, direction, step = (
        jax.jit(jax.grad(loss)),
        jnp.cos(jnp.arange(features.size)).reshape(features.shape),
        1e-5,
    )
    expected = (gradient(features + step * direction) - gradient(features - step * direction)) / (2 * step)
    product = jax.jit(lambda x: jax.jvp(jax.grad(loss), (x,), (direction,))[1])(features)
    np.testing.assert_allclose(product, expected, rtol=1e-6, atol=1e-8)


# One teacher moves the regression vector, the other the label noise.
@pytest.mark.parametrize(("weakness", "num_samples"), [("rotated", 12), ("noisy", 3)])
def test_gradients_in_the_laws_of_a_task(weakness, num_samples, key):
    design = sample_design(key, num_samples, 5)

    def loss(laws):
        task = make_task(num_concepts=3, dim=5, weak_accuracy=laws[0], concept_shift=laws[1], weakness=weakness)
        drawn = design_moments(design, task.weak_coef, task.weak_noise_var)
        students = (
            ridge_to_source(drawn, task.source_coef, laws[2]),
            gradient_flow(drawn, task.source_coef, laws[3]),
        )
        return sum(((student - task.target_coef) ** 2).sum() for student in students)

    laws, step = jnp.array([0.6, 0.3, 0.2, 0.7]), 1e-5
    gradient = jax.jit(jax.grad(loss))
    np.testing.assert_allclose(gradient(laws), central_difference(loss, laws), rtol=1e-6, atol=1e-8)
    direction = jnp.array([1.0, -2.0, 0.5, 1.5])
    second = jax.jit(lambda x: jax.jvp(jax.grad(loss), (x,), (direction,))[1])(laws)
    expected = (gradient(laws + step * direction) - gradient(laws - step * direction)) / (2 * step)
    np.testing.assert_allclose(second, expected, rtol=1e-6, atol=1e-8)


# --- single precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 6), (3, 5), (42, 32), (16, 32)])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_single_precision_agrees(name, shape):
    # Values and gradients, near n = d too, where small eigenvalues lie close but far from equal.
    direction = np.cos(np.arange(shape[1]))

    def loss(dtype, rows, labels, source):
        rows, labels, source = (x.astype(dtype) for x in (rows, labels, source))
        coef = ESTIMATORS[name](moments(Dataset(rows, labels)), source, jnp.asarray(0.3, dtype))
        assert coef.dtype == dtype
        return jnp.asarray(direction, dtype) @ coef, coef

    arguments = [jnp.asarray(x) for x in problem(*shape)]
    (one, other) = (
        jax.jit(jax.grad(lambda *x, dtype=dtype: loss(dtype, *x), argnums=(0, 1, 2), has_aux=True))(*arguments)
        for dtype in (jnp.float32, jnp.float64)
    )
    size = max(np.abs(x).max() for x in other[0])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4 * size), one, other)


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "value", "message"),
    [
        (ridge_to_source, -0.5, "penalty must not be negative, got -0.5"),
        (ridge_to_source, float("nan"), "penalty must not be negative, got nan"),
        (gradient_flow, -1, "time must not be negative, got -1"),
    ],
)
def test_bad_arguments_are_named(estimator, value, message):
    features, labels, source = problem(3, 2)
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(estimator)(moments_of(features, labels), jnp.asarray(source), value)
