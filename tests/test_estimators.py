"""Fine-tuning: against scikit-learn, SciPy and dense NumPy; limits and rates; derivatives where eigenvalues meet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp
from sklearn.linear_model import Ridge

from w2s_jax.estimators import gradient_flow, least_squares, ridge_to_source
from w2s_jax.sampling import moments
from w2s_jax.types import Dataset, Moments

ridge, flow, nearest = jax.jit(ridge_to_source), jax.jit(gradient_flow), jax.jit(least_squares)
SHAPES = [(40, 5), (5, 5), (3, 5)]  # n, d


def problem(num_samples, dim, seed=0):
    """Features, labels and a source, as NumPy arrays."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_samples, dim)), rng.standard_normal(num_samples), rng.standard_normal(dim)


def moments_of(features, labels):
    drawn = features.T @ features / len(labels), features.T @ labels / len(labels), float(len(labels))
    return Moments(*map(jnp.asarray, drawn))


@pytest.mark.parametrize("shape", SHAPES)
def test_ridge_equals_scikit_learn(shape):
    features, labels, source = problem(*shape)
    drawn = moments_of(features, labels)
    for penalty in (1e-9, 1e-3, 0.1, 1.0, 30.0, 1e9):  # from least squares to the source
        model = Ridge(alpha=shape[0] * penalty, fit_intercept=False, solver="svd", tol=1e-14)
        expected = source + model.fit(features, labels - features @ source).coef_
        result = ridge(drawn, jnp.asarray(source), penalty)
        np.testing.assert_allclose(result, expected, rtol=1e-8, atol=1e-10)
    assert np.abs(ridge(drawn, jnp.asarray(source), 1.1) - ridge(drawn, jnp.asarray(source), 1.0)).max() > 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_least_squares_equals_numpy(shape):
    features, labels, source = problem(*shape)
    drawn = moments_of(features, labels)
    expected = source + np.linalg.pinv(features) @ (labels - features @ source)
    for result in (nearest(drawn, jnp.asarray(source)), ridge(drawn, jnp.asarray(source), 0.0)):
        np.testing.assert_allclose(result, expected, rtol=1e-8, atol=1e-10)
    shortest = np.linalg.lstsq(features, labels)[0]
    np.testing.assert_allclose(nearest(drawn), shortest, rtol=1e-8, atol=1e-10)
    if shape[0] < shape[1]:  # interpolates, and moves from the source within the span of the rows only
        np.testing.assert_allclose(features @ expected, labels, atol=1e-10)
        assert np.abs(expected - shortest).max() > 0.1


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_flow_solves_its_differential_equation(shape):
    features, labels, source = problem(*shape)

    def descent(_, coef):  # minus the gradient of the mean squared error
        return 2 * features.T @ (labels - features @ coef) / shape[0]

    for time in (1e-4, 0.1, 1.0, 10.0):
        solved = solve_ivp(descent, (0.0, time), source, method="DOP853", rtol=1e-12, atol=1e-12)
        result = flow(moments_of(features, labels), jnp.asarray(source), time)
        np.testing.assert_allclose(result, solved.y[:, -1], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("shape", [(40, 5), (3, 5), (16, 32)])
def test_flow_meets_least_squares_and_stays_there(shape, dtype):
    # However long it runs: where n < d, rounding in the null space of the gram must not grow with time.
    features, labels, source = problem(*shape)
    drawn = jax.tree.map(lambda x: x.astype(dtype), moments_of(features, labels))
    source = jnp.asarray(source, dtype)
    for time in (1e3, 1e6, 1e12, np.inf):
        np.testing.assert_allclose(flow(drawn, source, time), nearest(drawn, source), rtol=2e-6, atol=2e-6)


def test_zero_penalty_and_zero_time_are_the_ends():
    features, labels, source = problem(40, 5)
    drawn, source = moments_of(features, labels), jnp.asarray(source)
    np.testing.assert_array_equal(gradient_flow(drawn, source, 0), source)
    np.testing.assert_array_equal(ridge_to_source(drawn, source, 0), least_squares(drawn, source))
    np.testing.assert_array_equal(least_squares(drawn), least_squares(drawn, jnp.zeros(5)))


# --- derivatives ----------------------------------------------------------------------------------------------------


def students(drawn, source, penalty, time):
    """Every estimator, `[3 d]`."""
    paths = ridge_to_source(drawn, source, penalty), gradient_flow(drawn, source, time)
    return jnp.stack([least_squares(drawn, source), *paths])


def square_gram(features):
    """The features turned so that their gram matrix is the identity: every eigenvalue meets every other."""
    return np.linalg.qr(features)[0] * np.sqrt(len(features))


# Twelve rows of four features. Masked rows are zero, and stay so: three rows leave a gram of rank 3, as n < d does.
FEATURES, LABELS, SOURCE = problem(12, 4)
POINTS = {
    "n>d": (FEATURES, np.ones(12)),
    "n<d": (FEATURES, np.arange(12.0) < 3),
    "gram=I": (square_gram(FEATURES), np.ones(12)),
}
DIRECTION = np.cos(np.arange(4))


def fit(arguments, mask):
    """What every student answers in one direction, `[3]`."""
    rows, labels, source, penalty, time = arguments
    drawn = moments(Dataset(rows * mask[:, None], labels * mask))
    return students(drawn, source, penalty, time) @ DIRECTION


def point(name):
    """Everything that a student reads, as one vector; the way back; the mask."""
    features, mask = POINTS[name]
    packed, unpack = ravel_pytree(tuple(jnp.asarray(x) for x in (features, LABELS, SOURCE, 0.4, 0.7)))
    return packed, unpack, jnp.asarray(mask, float)


def derivatives_of(value):
    """Programs: `value(packed, mask)` of many vectors, its Jacobian, and the derivatives of both along a direction."""
    first = jax.jacrev(value)

    def along(packed, mask, direction):
        return jax.jvp(lambda x: (value(x, mask), first(x, mask)), (packed,), (direction,))[1]

    return jax.jit(jax.vmap(value, (0, None))), jax.jit(first), jax.jit(along)


def central_differences(values, packed, mask):
    ends = packed[None] + 1e-5 * jnp.concatenate([jnp.eye(packed.size), -jnp.eye(packed.size)])
    ahead, behind = np.split(np.asarray(values(ends, mask)), 2)
    return (ahead - behind).T / 2e-5


def difference_along(first, packed, mask, direction, step=1e-5):
    return (first(packed + step * direction, mask) - first(packed - step * direction, mask)) / (2 * step)


@pytest.fixture(scope="module")
def derivatives():
    _, unpack, _ = point("n>d")
    return derivatives_of(lambda packed, mask: fit(unpack(packed), mask))


@pytest.mark.parametrize("name", POINTS)
def test_gradients_equal_central_differences(derivatives, name):
    # Through eigh they would divide by eigenvalue gaps: NaN at gram = I, wrong at n < d.
    values, first, _ = derivatives
    packed, _, mask = point(name)
    expected = central_differences(values, packed, mask)
    scale = np.abs(expected).max(axis=1, keepdims=True)
    np.testing.assert_allclose(first(packed, mask) / scale, expected / scale, rtol=1e-6, atol=1e-8)
    assert np.abs(1.1 * expected - first(packed, mask)).max() > 1e-3


@pytest.mark.parametrize("name", POINTS)
@pytest.mark.slow
def test_second_derivatives_equal_central_differences(derivatives, name):
    # In everything where eigenvalues lie apart. Where they meet, in everything that leaves the gram in place: labels,
    # the source, penalty and time; there, second derivatives in the features are not promised.
    _, first, along = derivatives
    packed, unpack, mask = point(name)
    direction, promised = jnp.sin(1.0 + jnp.arange(packed.size)), slice(None)
    if name != "n>d":
        direction = ravel_pytree(jax.tree.map(lambda x: x if x.ndim < 2 else 0 * x, unpack(direction)))[0]
        promised = slice(FEATURES.size, None)
    found, expected = along(packed, mask, direction)[1], difference_along(first, packed, mask, direction)
    np.testing.assert_allclose(found[:, promised], expected[:, promised], rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_second_derivatives_hold_where_eigenvalues_are_equal_to_the_bit():
    # The gram above is the identity up to rounding, which differs from machine to machine.
    direction, cross, still = jnp.asarray(DIRECTION), jnp.asarray(SOURCE), jnp.zeros((4, 4))

    def answer(gram, penalty, cross):
        return ridge_to_source(Moments(gram, cross, jnp.array(12.0)), jnp.zeros(4), penalty) @ direction

    @jax.jit
    def second(*along):
        return jax.jvp(jax.grad(answer, argnums=(1, 2)), (jnp.eye(4), 0.4, cross), along)[1]

    twice, mixed = second(still, 1.0, jnp.zeros(4))
    np.testing.assert_allclose(twice, 2 * (cross @ direction) / 1.4**3, rtol=1e-10)
    np.testing.assert_allclose(mixed, -direction / 1.4**2, rtol=1e-10)
    by_cross, none = second(still, 0.0, direction)
    np.testing.assert_allclose(by_cross, -(direction @ direction) / 1.4**2, rtol=1e-10)
    np.testing.assert_allclose(none, 0, atol=1e-12)


@pytest.mark.slow
def test_single_precision_agrees():
    # Values and gradients, near n = d too, where small eigenvalues lie close but far from equal; and where rows are 0.
    along = np.cos(np.arange(32))

    def answers(rows, labels, source):
        penalty, time = (jnp.asarray(x, rows.dtype) for x in (0.3, 2.0))
        coef = students(moments(Dataset(rows, labels)), source, penalty, time)
        return coef @ jnp.asarray(along, rows.dtype), coef

    program = jax.jit(jax.jacrev(answers, argnums=(0, 1, 2), has_aux=True))
    features, labels, source = problem(42, 32)
    for count in (42, 16):
        mask = np.arange(42) < count
        given = (features * mask[:, None], labels * mask, source)
        in_single, in_double = (program(*(jnp.asarray(x, t) for x in given)) for t in (jnp.float32, jnp.float64))
        size = max(np.abs(x).max() for x in in_double[0])
        for one, other in zip(jax.tree.leaves(in_single), jax.tree.leaves(in_double), strict=True):
            assert one.dtype == jnp.float32
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * size)
