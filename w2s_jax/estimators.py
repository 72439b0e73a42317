"""Estimators that fine-tune the source model on labels: ridge to source, least squares, gradient flow.

All of them are spectral filters of one residual. With S = V diag(lam) V' the gram matrix, m the cross moments and
beta_P the source,

    b = beta_P + V diag(f(lam)) V' (m - S beta_P),

and an estimator is its filter f. The eigendecomposition reads the gram matrix alone, so `vmap` over tasks, penalties or
times leaves it outside the loop. First derivatives are exact everywhere, at gram = I and n < d too; second
derivatives in the gram hold only where its eigenvalues lie apart.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from w2s_jax.inputs import kernel
from w2s_jax.types import Moments, Scalar, is_concrete


@kernel
def least_squares(moments: Moments, source_coef: Float[Array, "d"] | None = None) -> Float[Array, "d"]:
    """Least squares; where n < d, the solution nearest to the source.

        b = beta_P + S^+ (m - S beta_P),  the limit of `ridge_to_source` as penalty -> 0

    Args:
        moments: `gram [d d]` and `cross [d]` of a dataset; cross must lie in the range of gram, as data's does.
        source_coef: beta_P `[d]`; None means the origin, the minimum-norm solution.

    Returns:
        Coefficients `[d]`.

    Reference: docs/theory.md 2.

    >>> from w2s_jax.types import Moments
    >>> least_squares(Moments(2 * jnp.eye(2), jnp.array([2.0, 4.0]), jnp.array(9.0))).tolist()
    [1.0, 2.0]
    """
    if source_coef is None:
        source_coef = jnp.zeros_like(moments.cross)
    return ridge_to_source(moments, source_coef, 0.0)


@kernel
def ridge_to_source(moments: Moments, source_coef: Float[Array, "d"], penalty: Scalar) -> Float[Array, "d"]:
    """Naive fine-tuning: least squares on the labels, pulled back to the source.

        argmin_b (1/n) sum_i (y_i - b . phi_i)^2 + penalty ||b - beta_P||^2
          = beta_P + (S + penalty I)^-1 (m - S beta_P)

    Args:
        moments: `gram [d d]` and `cross [d]` of a dataset; cross must lie in the range of gram, as data's does.
        source_coef: beta_P `[d]`.
        penalty: eta >= 0, in units of feature variance (the loss is divided by n); 0 is `least_squares`.

    Returns:
        Coefficients `[d]`.

    Raises:
        ValueError: if a Python penalty is negative.

    Reference: docs/theory.md 2; Somerstep et al. (arXiv 2405.16236) for fine-tuning on weak labels.

    >>> from w2s_jax.types import Moments
    >>> data = Moments(jnp.eye(2), jnp.array([1.0, 3.0]), jnp.array(9.0))
    >>> ridge_to_source(data, jnp.array([1.0, 0.0]), 0.5).tolist()
    [1.0, 2.0]
    """
    if is_concrete(penalty) and not penalty >= 0:
        raise ValueError(f"penalty must not be negative, got {penalty}; 0 is least squares.")
    return _filter_residual(_ridge_filter, moments, source_coef, penalty)


@kernel
def gradient_flow(moments: Moments, source_coef: Float[Array, "d"], time: Scalar) -> Float[Array, "d"]:
    """Gradient descent on the weak labels in continuous time, stopped early.

        db/dt = -grad (1/n) sum_i (y_i - b . phi_i)^2,  b(0) = beta_P
        b(t) = beta_P + V diag((1 - e^{-2 t lam}) / lam) V' (m - S beta_P)

    Args:
        moments: `gram [d d]` and `cross [d]` of a dataset; cross must lie in the range of gram, as data's does.
        source_coef: beta_P `[d]`, where the flow starts.
        time: t >= 0, in units of 1 / feature variance; large t approaches `least_squares`.

    Returns:
        Coefficients `[d]`.

    Raises:
        ValueError: if a Python time is negative.

    Reference: docs/theory.md 2, derived.

    >>> from w2s_jax.types import Moments
    >>> data = Moments(jnp.eye(2), jnp.array([1.0, 3.0]), jnp.array(9.0))
    >>> [round(float(x), 3) for x in gradient_flow(data, jnp.array([1.0, 0.0]), jnp.log(2.0) / 2)]
    [1.0, 1.5]
    """
    if is_concrete(time) and not time >= 0:
        raise ValueError(f"time must not be negative, got {time}; 0 is the source.")
    return _filter_residual(_flow_filter, moments, source_coef, time)


SpectralFilter = Callable[[Float[Array, "d"], Float[Array, ""]], Float[Array, "d"]]


def _ridge_filter(lam: Float[Array, "d"], penalty: Float[Array, ""]) -> Float[Array, "d"]:
    kept = _in_range(lam)
    return jnp.where(kept, 1 / (jnp.where(kept, lam, 1.0) + penalty), 0.0)


def _flow_filter(lam: Float[Array, "d"], time: Float[Array, ""]) -> Float[Array, "d"]:
    kept = _in_range(lam)
    safe = jnp.where(kept, lam, 1.0)
    return jnp.where(kept, -jnp.expm1(-2 * time * safe) / safe, 0.0)


def _in_range(lam: Float[Array, "d"]) -> Bool[Array, "d"]:
    # The residual has no part in the null space of the gram; a filter of 0 there keeps rounding from being amplified,
    # by 1 / penalty or by 2 time.
    return lam > lam.shape[0] * jnp.finfo(lam.dtype).eps * lam[-1]


def _filter_residual(
    spectral_filter: SpectralFilter, moments: Moments, source_coef: Float[Array, "d"], parameter: Scalar
) -> Float[Array, "d"]:
    residual = moments.cross - moments.gram @ source_coef
    parameter = jnp.asarray(parameter, residual.dtype)
    return source_coef + _matrix_function(spectral_filter, moments.gram, residual, parameter)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _matrix_function(
    spectral_filter: SpectralFilter, gram: Float[Array, "d d"], vector: Float[Array, "d"], parameter: Float[Array, ""]
) -> Float[Array, "d"]:
    """f(gram) @ vector for a symmetric gram."""
    lam, basis = jnp.linalg.eigh(gram)
    return basis @ (spectral_filter(lam, parameter) * (basis.T @ vector))


@_matrix_function.defjvp
def _matrix_function_jvp(spectral_filter, primals, tangents):
    # Differentiating through eigh divides by eigenvalue gaps: NaN at gram = I and wherever n < d. The derivative of a
    # matrix function needs only divided differences of f (Daleckii and Krein), which have a limit where gaps close.
    gram, vector, parameter = primals
    gram_dot, vector_dot, parameter_dot = tangents
    lam, basis = _eigh(gram)
    rotated, rotated_dot = basis.T @ vector, basis.T @ vector_dot
    filtered, from_parameter = jax.jvp(lambda p: spectral_filter(lam, p), (parameter,), (parameter_dot,))
    gram_dot = basis.T @ ((gram_dot + gram_dot.T) / 2) @ basis
    from_gram = _divided_differences(spectral_filter, lam, filtered, parameter) * gram_dot
    primal = basis @ (filtered * rotated)
    return primal, basis @ (filtered * rotated_dot + from_parameter * rotated + from_gram @ rotated)


@jax.custom_jvp
def _eigh(gram: Float[Array, "d d"]) -> tuple[Float[Array, "d"], Float[Array, "d d"]]:
    """`jnp.linalg.eigh`, of which second derivatives are made: a gram that stays in place adds nothing to them.

    Differentiated by jax itself it would add 0 / 0 where two eigenvalues are equal to the bit, as at gram = I.
    """
    lam, basis = jnp.linalg.eigh(gram)
    return lam, basis


@_eigh.defjvp
def _eigh_jvp(primals, tangents):
    lam, basis = _eigh(*primals)
    (gram_dot,) = tangents
    turned = basis.T @ ((gram_dot + gram_dot.T) / 2) @ basis
    gap = lam[None, :] - lam[:, None]
    turns = jnp.where(gap == 0, 0.0, turned / jnp.where(gap == 0, 1.0, gap))
    return (lam, basis), (jnp.diagonal(turned), basis @ turns)


def _divided_differences(
    spectral_filter: SpectralFilter, lam: Float[Array, "d"], filtered: Float[Array, "d"], parameter: Float[Array, ""]
) -> Float[Array, "d d"]:
    """(f_i - f_j) / (lam_i - lam_j), and f' at the mean of the two where they meet."""
    gap = lam[:, None] - lam[None, :]
    _, slope = jax.jvp(lambda x: spectral_filter(x, parameter), (lam,), (jnp.ones_like(lam),))
    # Two eigenvalues meet where the filter hardly moves between them: their gap is measured against the filter, since
    # near n = d small eigenvalues lie close by any other measure. A cube root balances the rounding of the quotient
    # against the curvature that the midpoint rule leaves out.
    steepest = jnp.maximum(jnp.abs(slope)[:, None], jnp.abs(slope)[None, :])
    smallest = jnp.minimum(jnp.abs(filtered)[:, None], jnp.abs(filtered)[None, :])
    close = jnp.abs(gap) * steepest <= jnp.cbrt(jnp.finfo(lam.dtype).eps) * smallest
    midpoint_slope = (slope[:, None] + slope[None, :]) / 2
    return jnp.where(close, midpoint_slope, (filtered[:, None] - filtered[None, :]) / jnp.where(close, 1.0, gap))
