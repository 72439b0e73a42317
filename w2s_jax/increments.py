"""Gaussian examples drawn as moments: the contribution of n of them to gram and cross moments, at O(d^2) for any n.

n examples are Phi = Q R with Q'Q = I, and every moment that an estimator reads is R'(Q'y): Phi'Phi = R'R, and
Phi'eps = R'e with e = Q'eps standard normal. Without labels R is Bartlett's triangle (`wishart_root`).

Labels that are drawn from several concepts, one for each row, are not linear in Phi. Yet they depend on a row only
through its coordinates u in the span of the concepts' differences, p = K - 1 of them. Take these as drawn, U `[n p]`,
A = U'U, and split phi into u and the rest v, which is independent of u and of the labels y. Then (derived,
docs/theory.md 2), with y_perp the part of y outside the columns of U,

    R = [A^1/2  N]      rows of N: U's columns, orthonormalised, see v as standard normals
        [  0    z]      so does the direction of y_perp, for any concepts drawn
        [  0    T]      and T'T is a Wishart matrix with n - p - 1 degrees of freedom,

    Q'y = (A^-1/2 U'y, |y_perp|, 0),    Phi'y = R'Q'y.

So the labels of a cell are p + 1 numbers, and (gram, cross) is distributed exactly as for drawn examples, at n < d too.
z does not depend on the cell: cells share it as they share U, N and T.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.types import Key


class Increment(NamedTuple):
    """n gaussian examples of unit variance, as an orthogonal frame sees them."""

    root: Float[Array, "r d"]
    """R: the first p + 1 rows are those that labels see (`label_coordinates`)."""
    directions: Float[Array, "p n"]
    """A^-1/2 U': the columns of U, orthonormalised."""


def concept_span(
    concepts: Float[Array, "K d"], feature_var: Float[Array, "d"]
) -> tuple[Float[Array, "p d"], Float[Array, "K p"]]:
    """An orthonormal basis of the span of the concepts' differences, and each concept minus the last in it.

    In units of features of variance 1: beta_k . phi - beta_K . phi = coordinates_k . u with u = basis @ unit features.
    The differences must be linearly independent, so p = K - 1.

    >>> basis, coordinates = concept_span(jnp.eye(2, 3), jnp.ones(3))
    >>> bool(jnp.allclose(coordinates @ basis, jnp.array([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]), atol=1e-6))
    True
    """
    differences = (concepts - concepts[-1:]) * jnp.sqrt(feature_var)[None, :]
    basis = jnp.linalg.qr(differences[:-1].T)[0].T
    return basis, differences @ basis.T


def increment_beside(
    key: Key, coordinates: Float[Array, "p n"], basis: Float[Array, "p d"], rest: Float[Array, "d d"]
) -> Increment:
    """Everything about n examples that labels do not see, given the coordinates that they do.

    Args:
        key: a typed key, independent of the coordinates.
        coordinates: U', standard normals; n >= 1 is static and may be less than p or d. Rows lie along the last axis,
            which a core draws and multiplies several times as fast.
        basis: orthonormal rows, p <= d.
        rest: a `wishart_root` with max(n - p - 1, 0) degrees of freedom: what n rows add beyond those that are seen.

    Returns:
        `Increment(root [p+1+d d], directions [p n])`.

    Reference: derived, docs/theory.md 2.

    >>> seen = jax.random.normal(jax.random.key(0), (2, 50))
    >>> from w2s_jax.sampling import wishart_root
    >>> rest = wishart_root(jax.random.key(2), 50 - 2 - 1, 4)
    >>> increment = increment_beside(jax.random.key(1), seen, jnp.eye(2, 4), rest)
    >>> gram = increment.root.T @ increment.root
    >>> bool(jnp.allclose(gram[:2, :2], seen @ seen.T, atol=1e-3))
    True
    """
    (size, num_samples), dim = coordinates.shape, basis.shape[1]
    root, inverse_root = _square_roots(coordinates @ coordinates.T)
    seen = inverse_root @ root  # the identity, or the projector on what n < p rows span
    outside = jnp.eye(dim) - basis.T @ basis
    normals = jax.random.normal(key, (size + 1, dim)) @ outside
    beyond = float(num_samples > size)
    rows = [root @ basis + seen @ normals[:size], beyond * normals[size:], rest @ outside]
    return Increment(jnp.concatenate(rows), inverse_root @ coordinates)


def label_coordinates(projected: Float[Array, "*b p"], square: Float[Array, "*b"]) -> Float[Array, "*b p+1"]:
    """Q'y without its zeros, from y'directions and y'y: its part along U, then the length of what is left.

    >>> label_coordinates(jnp.array([3.0]), jnp.array(25.0)).tolist()
    [3.0, 4.0]
    """
    left = jnp.maximum(square - (projected**2).sum(axis=-1), 0.0)
    return jnp.concatenate([projected, jnp.sqrt(left)[..., None]], axis=-1)


def _square_roots(gram: Float[Array, "p p"]) -> tuple[Float[Array, "p p"], Float[Array, "p p"]]:
    """A^1/2 and its pseudo-inverse."""
    lam, basis = jnp.linalg.eigh(gram)
    kept = lam > lam.shape[0] * jnp.finfo(lam.dtype).eps * lam[-1]
    root = jnp.sqrt(jnp.where(kept, lam, 1.0))
    scale = basis * jnp.where(kept, root, 0.0)[None, :], basis * jnp.where(kept, 1 / root, 0.0)[None, :]
    return scale[0] @ basis.T, scale[1] @ basis.T
