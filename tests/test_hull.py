"""The hull of the concepts: against SciPy; certificates; derivatives on every face; what is not unique."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.optimize import nnls

from tests.test_estimators import central_differences, derivatives_of, difference_along, moments_of
from w2s_jax.hull import hull_least_squares, project_to_simplex
from w2s_jax.sampling import moments
from w2s_jax.types import Dataset, Moments

hull = jax.jit(hull_least_squares)
many = jax.jit(jax.vmap(hull_least_squares))
project = jax.jit(project_to_simplex)
SHAPES = [(2, 5, 40), (4, 32, 8), (4, 3, 50), (6, 32, 6)]  # K, d, n
TRUTHS = ["vertex", "inside", "outside"]
BATCH = 60
"""Problems that are solved at once, so that a shape is one program."""


def problem(num_concepts, dim, num_samples, truth, seed=0):
    """Oblique concepts, features, and labels whose regression vector is a concept, a mixture, or off their hull."""
    rng = np.random.default_rng([seed, num_concepts, dim, num_samples])
    concepts = rng.standard_normal((num_concepts, dim))
    weights = np.eye(num_concepts)[0] if truth == "vertex" else rng.dirichlet(np.full(num_concepts, 3.0))
    coef = weights @ concepts + (truth == "outside") * rng.standard_normal(dim)
    features = rng.standard_normal((num_samples, dim))
    return concepts, features, features @ coef + 0.5 * rng.standard_normal(num_samples)


def batch(num_concepts, dim, sizes, count=BATCH, dtype=jnp.float64, shift=0.0):
    """Problems of every kind and of all sample sizes, and their weights."""
    problems = [problem(num_concepts, dim, sizes[i % len(sizes)], TRUTHS[i % 3], i) for i in range(count)]
    drawn = [moments_of(features, labels + shift * features.sum(axis=1)) for _, features, labels in problems]
    drawn = jax.tree.map(lambda *leaves: jnp.stack(leaves).astype(dtype), *drawn)
    concepts = jnp.asarray(np.stack([concepts + shift for concepts, *_ in problems]), dtype)
    return problems, drawn, concepts, many(drawn, concepts)


def nearest_by_nnls(concepts, features, labels):
    """The minimiser by SciPy's active sets. With C = y 1' - Phi B', the residual of weights w is C w, and

        min ||C v||^2 + (1'v - 1)^2    over v >= 0

    has v = w/(1 + ||C w||^2) for the w that minimises ||C w|| on the simplex: along a ray v = s w the minimum over s is
    q/(1 + q) with q = ||C w||^2, which rises with q.
    """
    residuals = labels[:, None] - features @ concepts.T
    size = np.abs(residuals).max()
    v = nnls(np.vstack([residuals / size, np.ones(len(concepts))]), np.r_[np.zeros(len(labels)), 1.0])[0]
    return v / v.sum()


def gap(drawn, concepts, weights):
    """An upper bound on the excess loss, and the size of what it is computed from."""
    gram, cross, concepts, weights = (np.asarray(x, np.float64) for x in (drawn.gram, drawn.cross, concepts, weights))
    arms = concepts - concepts.mean(axis=0)
    hessian, pull = arms @ gram @ arms.T, arms @ (cross - gram @ concepts.mean(axis=0))
    gradient = hessian @ weights - pull
    return weights @ gradient - gradient.min(), np.abs(hessian).max() + np.abs(pull).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_weights_equal_those_of_scipy(shape):
    problems, _, _, weights = batch(*shape[:2], shape[2:])
    wrong = 0.0
    for (concepts, features, labels), result in zip(problems, np.asarray(weights)):
        expected = nearest_by_nnls(concepts, features, labels)
        np.testing.assert_allclose(result, expected, rtol=1e-7, atol=1e-7)
        assert abs(result.sum() - 1) < 1e-14 and result.min() >= 0
        np.testing.assert_array_equal(result > 0, expected > 1e-9)  # off the face, exactly 0
        wrong = max(wrong, np.abs(nearest_by_nnls(concepts, features, 1.1 * labels) - result).max())
    assert wrong > 1e-2


def test_what_all_concepts_share_costs_no_digits():
    expected, shifted = (batch(2, 5, (40,), shift=shift)[-1] for shift in (0.0, 1e5))
    np.testing.assert_allclose(shifted, expected, rtol=1e-8, atol=1e-8)


def test_projection_equals_that_of_scipy():
    rng = np.random.default_rng(0)
    for size in (1, 3, 5):
        for scale in (0.1, 1.0, 10.0):
            for x in scale * rng.standard_normal((20, size)):
                expected = nearest_by_nnls(np.eye(size), np.eye(size), x)
                np.testing.assert_allclose(project(jnp.asarray(x)), expected, atol=1e-12)
    for x, expected in (  # known by hand
        ([3.0, 3.0, 3.0], [1 / 3, 1 / 3, 1 / 3]),
        ([0.5, 0.5, 0.0], [0.5, 0.5, 0.0]),  # on the boundary already
        ([1e9, 1e9 - 0.5, 0.0], [0.75, 0.25, 0.0]),
        ([-1e300, 1e300, 0.0], [0.0, 1.0, 0.0]),
    ):
        np.testing.assert_allclose(project(jnp.asarray(x)), expected, rtol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize(("shape", "sizes", "count"), [((4, 32), (2, 4, 8, 1000), BATCH), ((64, 80), (40, 90), 12)])
def test_every_answer_is_certified(shape, sizes, count, dtype):
    # Unique or not: what is left to gain is at the level of rounding, here measured in double precision.
    _, drawn, concepts, weights = batch(*shape, sizes, count, dtype)
    assert weights.dtype == dtype
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=32 * jnp.finfo(dtype).eps)
    assert weights.min() >= 0
    for i in range(count):
        one = jax.tree.map(lambda x, i=i: x[i], drawn)
        left, size = gap(one, concepts[i], weights[i])
        assert left < 32 * jnp.finfo(dtype).eps * size
        elsewhere, _ = gap(one, concepts[i], 0.99 * np.asarray(weights[i]) + 0.01 / shape[0])
        assert elsewhere > 1e-6 * size


hull_derivatives = jax.jit(jax.jacrev(hull_least_squares, argnums=(0, 1)))


@pytest.mark.parametrize(
    ("gram", "concepts"),
    [
        (np.eye(3), np.ones((3, 3))),  # all concepts are one
        (np.zeros((3, 3)), np.eye(3)),  # nothing seen
        (np.eye(3), np.eye(3)[[0, 0, 1]]),  # a concept twice
        (np.diag([1.0, 0.0, 0.0]), np.eye(3)),
        (np.eye(3), np.eye(3)[:1]),  # only one
    ],
)
def test_singular_problems_stay_finite(gram, concepts):
    cross = gram @ np.array([0.6, 0.3, -0.1])
    drawn = Moments(jnp.asarray(gram), jnp.asarray(cross), jnp.array(9.0))
    weights = np.asarray(hull(drawn, jnp.asarray(concepts)))
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-14)
    left, size = gap(drawn, concepts, weights)
    assert left <= 1e-15 * max(size, 1.0)
    if len(concepts) > 1:
        for derivative in jax.tree.leaves(hull_derivatives(drawn, jnp.asarray(concepts))):
            assert np.all(np.isfinite(derivative))


def test_what_is_not_a_number_stays_so():
    drawn = Moments(jnp.eye(3), jnp.array([0.1, jnp.nan, 0.2]), jnp.array(9.0))
    assert np.all(np.isnan(hull(drawn, jnp.eye(3))))


# --- derivatives ----------------------------------------------------------------------------------------------------

# Four concepts, close to orthonormal, and rows of six features, which are 0 where masked: the answer lies inside the
# simplex, on an edge, on a vertex; and inside with fewer rows than features.
FACES = {
    "inside": (4, 24, [0.3, 0.2, 0.4, 0.1]),
    "edge": (2, 24, [0.9, 0.9, -0.6, -0.2]),
    "vertex": (1, 24, [2.0, 0.0, -1.0, 0.0]),
    "n<d": (4, 5, [0.3, 0.2, 0.4, 0.1]),
}


def corner_problem(name):
    """Features, labels and concepts as one vector; the way back; the mask."""
    _, count, weights = FACES[name]
    rng = np.random.default_rng(3)
    features, noise = rng.standard_normal((24, 6)), 0.02 * rng.standard_normal(24)
    concepts = np.eye(4, 6) + 0.1 * rng.standard_normal((4, 6))
    labels = features @ (np.array(weights) @ concepts) + noise
    packed, unpack = ravel_pytree(tuple(jnp.asarray(x) for x in (features, labels, concepts)))
    return packed, unpack, jnp.asarray(np.arange(24) < count, float)


@pytest.fixture(scope="module")
def derivatives():
    _, unpack, _ = corner_problem("inside")

    def weights(packed, mask):
        features, labels, concepts = unpack(packed)
        return hull_least_squares(moments(Dataset(features * mask[:, None], labels * mask)), concepts)

    return derivatives_of(weights)


@pytest.mark.slow
@pytest.mark.parametrize("name", FACES)
def test_derivatives_equal_central_differences(derivatives, name):
    values, first, along = derivatives
    packed, _, mask = corner_problem(name)
    assert np.count_nonzero(values(packed[None], mask)) == FACES[name][0]
    expected = central_differences(values, packed, mask)
    np.testing.assert_allclose(first(packed, mask), expected, rtol=1e-6, atol=1e-8)
    if name == "vertex":
        np.testing.assert_array_equal(expected, 0.0)  # it stays where it is
    else:
        assert np.abs(1.1 * expected - first(packed, mask)).max() > 1e-2
    # Forward too, and of the second order.
    direction = jnp.sin(1.0 + jnp.arange(packed.size))
    forward, second = along(packed, mask, direction)
    np.testing.assert_allclose(forward, first(packed, mask) @ direction, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(second, difference_along(first, packed, mask, direction), rtol=1e-5, atol=1e-6)
