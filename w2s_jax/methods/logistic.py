"""Logistic students: fine-tuning on signs, pulled to a source, by a fixed number of Newton steps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from w2s_jax.types import Dataset, Scalar, is_concrete

NEWTON_STEPS = 12
"""Enough for a gradient under 1e-8 at penalties from 1e-3 and labels of logits up to some tens, separable or not."""
STEP_SIZES = tuple(0.5**i for i in range(7))
"""The first of them that does not raise the loss is taken; near the minimum that is 1."""


def logistic_to_source(
    dataset: Dataset,
    source_coef: Float[Array, "d"],
    penalty: Scalar,
    *,
    shares: Float[Array, "n"] | None = None,
    num_steps: int = NEWTON_STEPS,
) -> Float[Array, "d"]:
    """Logistic regression on signs, pulled to a source.

        argmin_b  sum_i v_i [log(1 + e^{f_i}) - (1 + y_i)/2 f_i] + (penalty/2) ||b - b_P||^2,    f_i = b . phi_i

    For y_i = +-1 and v_i = 1/n the sum is the mean of log(1 + e^{-y_i f_i}); a label within (-1, 1) is the mean of
    several. Damped Newton steps from b_P (iteratively reweighted least squares): the solution of
    (Phi' V W Phi + penalty I) delta = -gradient, W = diag p(1 - p), cut by halves until the loss does not rise.
    The work is O(num_steps (n d^2 + d^3)).

    Args:
        dataset: features `[n d]` and labels `[n]` in [-1, 1].
        source_coef: b_P `[d]`, in log odds per unit of a feature.
        penalty: > 0, in units of feature variance: the curvature of the loss, E p(1 - p) phi phi', is that variance
            times at most 1/4. 0 is allowed where the labels are not separable and the features have full rank.
        shares: v `[n]`, >= 0, usually of sum 1; None weighs all examples alike.
        num_steps: >= 1, static.

    Returns:
        Coefficients `[d]`. First derivatives are those of the minimiser (implicit function theorem): the last step
        alone carries them.

    Raises:
        ValueError: if num_steps is under 1, or a Python penalty is negative.

    Reference: McCullagh and Nelder (1989), Generalized Linear Models, 2.5, for the steps; the pull is that of
    `ridge_to_source`.

    >>> weak = Dataset(jnp.array([[1.0, 0.0], [-1.0, 0.0]]), jnp.array([1.0, -1.0]))  # separable
    >>> [round(float(b), 2) for b in logistic_to_source(weak, jnp.array([0.0, 2.0]), 0.1)]
    [1.63, 2.0]
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}; {NEWTON_STEPS} reach the minimum.")
    if is_concrete(penalty) and not penalty >= 0:
        raise ValueError(f"penalty must not be negative, got {penalty}; 0 does not pull to the source.")

    shares = jnp.full(dataset.labels.shape, 1 / len(dataset.labels), dataset.labels.dtype) if shares is None else shares
    problem = (dataset, source_coef, jnp.asarray(penalty, source_coef.dtype), shares)
    coef = jax.lax.fori_loop(0, num_steps - 1, _loop, (source_coef, jax.lax.stop_gradient(problem)))[0]
    return newton_step(jax.lax.stop_gradient(coef), *problem)


def _loop(_, state: tuple) -> tuple:
    coef, problem = state
    return newton_step(coef, *problem), problem


def newton_step(
    coef: Float[Array, "d"],
    dataset: Dataset,
    source_coef: Float[Array, "d"],
    penalty: Scalar,
    shares: Float[Array, "n"],
) -> Float[Array, "d"]:
    """One damped step of `logistic_to_source`, from `coef`."""
    features, labels = dataset
    positive = (1 + labels) / 2
    logits = features @ coef
    chance = jax.nn.sigmoid(logits)
    slope = (shares * (chance - positive)) @ features + penalty * (coef - source_coef)
    curvature = features.T @ ((shares * chance * (1 - chance))[:, None] * features) + penalty * jnp.eye(
        len(coef), dtype=coef.dtype
    )
    move = -jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(curvature), slope)

    along, away = features @ move, coef - source_coef

    def losses(sizes: Array) -> Array:
        moved = logits[None] + sizes[:, None] * along[None]
        pull = away @ away + 2 * sizes * (away @ move) + jnp.square(sizes) * (move @ move)
        return (shares[None] * (softplus(moved) - positive[None] * moved)).sum(axis=1) + penalty / 2 * pull

    return coef + step_size(losses, coef.dtype) * move


def step_size(losses: Callable[[Array], Array], dtype: DTypeLike) -> Float[Array, ""]:
    """The first of STEP_SIZES at which the loss along a step is no higher than at 0; the last where there is none."""
    sizes = jnp.array((0.0, *STEP_SIZES), dtype)
    found = jax.lax.stop_gradient(losses(sizes))
    # At the minimum a full step changes the loss by rounding alone, and must be taken: it carries the derivatives.
    fine = found[1:] <= found[0] + 8 * jnp.finfo(dtype).eps * (1 + jnp.abs(found[0]))
    return jnp.where(fine.any(), sizes[1:][jnp.argmax(fine)], sizes[-1])


def softplus(x: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """log(1 + e^x), several times faster than `jax.nn.softplus` on CPUs."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))
