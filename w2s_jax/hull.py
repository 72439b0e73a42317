"""Least squares over the convex hull of the concepts: a student that knows what the answer is made of.

The weights live on the simplex, so that the problem is a quadratic program in K variables, however large d is.
Accelerated projected gradient finds the face of the solution; one linear solve on that face then makes it exact, and
carries the derivatives.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from w2s_jax.inputs import kernel
from w2s_jax.types import Moments

GAP_ROUNDINGS = 16
MAX_ITERATIONS = 10_000


@kernel
def hull_least_squares(moments: Moments, concepts: Float[Array, "K d"]) -> Float[Array, "K"]:
    """Least squares over the convex hull of the concepts: weights on the simplex.

        argmin_w (1/n) sum_i (y_i - (B'w) . phi_i)^2    over w >= 0, sum_k w_k = 1
          = argmin_w w'Hw/2 - g'w,    H = B S B',  g = B m

    where S = `moments.gram`, m = `moments.cross` and beta_k, the rows of B, are the `concepts`; the coefficients are
    B'w, `weights @ concepts`. The work is O(K d^2 + T K^2) for T iterations: some tens for K = 4 and n >= 8, hundreds
    where H is close to singular. It is the slowest cell of a `vmap` that sets T.

    Args:
        moments: `gram [d d]` and `cross [d]` of a dataset; cross must lie in the range of gram, as data's does.
        concepts: beta_k `[K d]`, one a row, K >= 1, of any Gram matrix.

    Returns:
        Weights `[K]`, exactly 0 off the face of the solution. Projected gradient runs until a step of it moves no
        weight by more than eps^(2/3), 4e-11 in float64 and 2e-5 in float32, and the duality gap, which bounds what is
        left to gain, is under 16 roundings of max |H| + max |g| (both seen from the centre of the hull), or for 10,000
        iterations; a linear solve on the face that it found then makes the weights as exact as H allows. Should that
        solve leave the simplex, as it may where a weight is 0 to within rounding, they stay as they were. Where the
        minimiser is not unique (H singular along its face, as for n < K - 1) one of them is returned, and which is not
        promised; they all predict alike on the sample. Derivatives, of every order, are those within the face: exact
        unless a weight is about to join or leave it, and 0 along directions that the loss does not see.

    Reference: docs/theory.md 3.5; O'Donoghue and Candes (arXiv 1204.3982) for the restarts of the momentum.

    >>> from w2s_jax.types import Moments
    >>> data = Moments(jnp.eye(2), jnp.array([0.7, 0.1]), jnp.array(9.0))
    >>> [round(float(weight), 3) for weight in hull_least_squares(data, jnp.eye(2))]
    [0.8, 0.2]
    """
    # Seen from the centre of the hull: what all concepts share moves nothing and would cost digits.
    centre = concepts.mean(axis=0)
    arms = concepts - centre[None]
    hessian = arms @ moments.gram @ arms.T
    pull = arms @ (moments.cross - moments.gram @ centre)
    weights = _project_gradient(*jax.lax.stop_gradient((hessian, pull)))
    return _polish(hessian, pull, weights)


@kernel
def project_to_simplex(x: Float[Array, "K"]) -> Float[Array, "K"]:
    """The point of the simplex nearest to x.

        argmin_w ||w - x||^2    over w >= 0, sum_k w_k = 1
          = max(x - theta, 0),    theta = max_k (x_(1) + ... + x_(k) - 1) / k

    with x_(1) >= x_(2) >= ... the sorted entries: exact, without iterations.

    Args:
        x: any finite vector `[K]`, K >= 1.

    Returns:
        Weights `[K]`, which are >= 0 and sum to 1.

    Reference: Held, Wolfe and Crowder (1974), Validation of subgradient optimization.

    >>> project_to_simplex(jnp.array([1.0, 0.5, -3.0])).tolist()
    [0.75, 0.25, 0.0]
    """
    x = x - jax.lax.stop_gradient(x.max())  # a shift of all entries moves nothing; the sums keep their digits
    # For many short vectors at once, comparing all pairs is several times faster than a sort.
    larger = x[None, :] >= x[:, None]
    theta = ((jnp.where(larger, x[None, :], 0.0).sum(axis=1) - 1) / larger.sum(axis=1, dtype=x.dtype)).max()
    return jnp.maximum(x - theta, 0)


class _State(NamedTuple):
    """Accelerated descent: where it is, where momentum would carry it, and the gradients at both."""

    weights: Float[Array, "K"]
    gradient: Float[Array, "K"]
    ahead: Float[Array, "K"]
    ahead_gradient: Float[Array, "K"]
    momentum: Float[Array, ""]
    moved: Float[Array, ""]
    """How far the last gradient step took any weight: 0 at the solution alone."""
    iteration: Int[Array, ""]


def _project_gradient(hessian: Float[Array, "K K"], pull: Float[Array, "K"]) -> Float[Array, "K"]:
    """Weights that a gradient step no longer moves: accelerated projected gradient, restarted."""
    steepest, tolerance = _eigenvalue_bound(hessian), _gap_tolerance(hessian, pull)

    def unfinished(s: _State) -> Bool[Array, ""]:
        # The gap alone would stop at a small weight that does not belong to the face: it is as small as their product.
        moving = s.moved > jnp.finfo(pull.dtype).eps ** (2 / 3)
        return (s.iteration < MAX_ITERATIONS) & (moving | (_gap(s.weights, s.gradient) > tolerance))

    def step(s: _State) -> _State:
        weights = project_to_simplex(s.ahead - s.ahead_gradient / steepest)
        gradient = hessian @ weights - pull
        # Momentum that points uphill is dropped (O'Donoghue and Candes).
        uphill = (s.ahead - weights) @ (weights - s.weights) > 0
        before = jnp.where(uphill, 1.0, s.momentum)
        momentum = (1 + jnp.sqrt(1 + 4 * before**2)) / 2
        carry = (before - 1) / momentum
        # The gradient is affine, so that it is extrapolated as the weights are: one product with H an iteration.
        ahead = weights + carry * (weights - s.weights)
        ahead_gradient = gradient + carry * (gradient - s.gradient)
        moved = jnp.abs(weights - s.ahead).max()
        return _State(weights, gradient, ahead, ahead_gradient, momentum, moved, s.iteration + 1)

    start = project_to_simplex(pull / steepest)  # one step from the centre, where the gradient is -g
    gradient = hessian @ start - pull
    one, none = jnp.ones_like(pull, shape=()), jnp.zeros_like(pull, jnp.int32, shape=())
    first = _State(start, gradient, start, gradient, one, one, none)
    return jax.lax.while_loop(unfinished, step, first).weights


def _polish(hessian: Float[Array, "K K"], pull: Float[Array, "K"], weights: Float[Array, "K"]) -> Float[Array, "K"]:
    """One Newton step within the face of the weights, taken if it ends in the simplex and is no worse than they are."""
    step = _solve_on_face(hessian, weights > 0, pull - hessian @ weights)
    exact = weights + step
    gap, exact_gap = (_gap(w, hessian @ w - pull) for w in (weights, exact))
    taken = (exact.min() >= 0) & (exact_gap <= jnp.maximum(gap, _gap_tolerance(hessian, pull)))
    # Taken or not, the derivative is that of the step.
    return weights + jnp.where(taken, step, step - jax.lax.stop_gradient(step))


def _solve_on_face(
    hessian: Float[Array, "K K"], face: Bool[Array, "K"], vector: Float[Array, "K"]
) -> Float[Array, "K"]:
    """(PHP)^+ vector, where P projects on the directions within a face: zero off it, and of sum zero."""
    inside = face.astype(vector.dtype)
    projector = jnp.diag(inside) - jnp.outer(inside, inside) / inside.sum()
    within = projector @ hessian @ projector
    lam, basis = jnp.linalg.eigh(jax.lax.stop_gradient(within))
    kept = lam > 16 * lam.size * jnp.finfo(lam.dtype).eps * jnp.abs(hessian).max()
    inverse = jnp.where(kept, 1 / jnp.where(kept, lam, 1.0), 0.0)
    # Differentiated as a linear system is, not through eigh, which has no derivative where eigenvalues meet.
    return jax.lax.custom_linear_solve(
        lambda x: within @ x, vector, lambda _, b: inside * (basis @ (inverse * (basis.T @ b))), symmetric=True
    )


def _gap(weights: Float[Array, "K"], gradient: Float[Array, "K"]) -> Float[Array, ""]:
    """The duality gap of Frank and Wolfe: the loss at these weights exceeds its minimum by no more."""
    return weights @ (gradient - gradient.min())


def _gap_tolerance(hessian: Float[Array, "K K"], pull: Float[Array, "K"]) -> Float[Array, ""]:
    """What rounding makes of a gap of 0."""
    return GAP_ROUNDINGS * jnp.finfo(pull.dtype).eps * (jnp.abs(hessian).max() + jnp.abs(pull).max())


def _eigenvalue_bound(hessian: Float[Array, "K K"]) -> Float[Array, ""]:
    """(tr H^16)^(1/16): between the largest eigenvalue and K^(1/16) times that; 1 where H = 0."""
    # Over the largest absolute row sum, which bounds the eigenvalues: the largest of what is left is 1/sqrt(K) at
    # least, and its powers do not underflow. Over the trace, which may be K times the largest, they do.
    scale = jnp.abs(hessian).sum(axis=1).max()
    power = hessian / jnp.where(scale == 0, 1.0, scale)
    for _ in range(3):
        power = power @ power
    return jnp.where(scale == 0, 1.0, scale * jnp.sum(power**2) ** (1 / 16))
