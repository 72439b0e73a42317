"""Measures of an estimate: excess risk, misfit, performance gap recovered, sign accuracy.

Every function reduces the last axis only. Leading dimensions broadcast against each other, shorter ones padded on the
left, also under `jax_numpy_rank_promotion="raise"`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.inputs import kernel
from w2s_jax.types import Scalar


@kernel
def excess_risk(
    coef: Float[Array, "*#b d"],
    target_coef: Float[Array, "*#b d"],
    feature_var: Float[Array, "..."] | float = 1.0,
) -> Float[Array, "..."]:
    """Excess risk of a linear predictor on the target: its squared distance from the target regression function.

        R(b) = E (b . phi - E_Q[Y | phi])^2 = sum_j s_j (b_j - beta_Q,j)^2

    with b = `coef`, beta_Q = `target_coef`, s = `feature_var`; in squared label units, label noise not counted.

    Args:
        coef: coefficients b, `[*b d]`.
        target_coef: beta_Q, `[*b d]`, as `task.target_coef`.
        feature_var: second moment s of each feature, `[]` or `[*b d]`, >= 0: 1 for standard gaussian features, 1/3 for
            uniform ones on [-1, 1], `task.feature_var` for the gaussian features of a task.

    Returns:
        The excess risk, `[*b]`.

    Assumes: centred, uncorrelated features.

    Reference: docs/theory.md 1.

    >>> import jax.numpy as jnp
    >>> float(excess_risk(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0])))
    4.0
    >>> float(excess_risk(jnp.array([1.0, 2.0]), jnp.array([0.0, 0.0]), jnp.array([2.0, 0.5])))
    4.0
    """
    coef, target_coef, feature_var = _aligned(coef, target_coef, feature_var)
    return jnp.sum(feature_var * (coef - target_coef) ** 2, axis=-1)


@kernel
def misfit(
    student_coef: Float[Array, "*#b d"],
    weak_coef: Float[Array, "*#b d"],
    feature_var: Float[Array, "..."] | float = 1.0,
) -> Float[Array, "..."]:
    """How far a student departs from its weak teacher: the disagreement that weak-to-strong gain is made of.

        misfit = E (b_student . phi - b_weak . phi)^2 = sum_j s_j (b_student,j - b_weak,j)^2

    For a student that is the projection of the weak teacher on a linear class that contains the truth,
    R(student) = R(weak) - misfit; on a convex class, R(student) <= R(weak) - misfit.

    Args:
        student_coef: b_student, `[*b d]`.
        weak_coef: b_weak, `[*b d]`, as `task.weak_coef`.
        feature_var: second moment s of each feature, `[]` or `[*b d]`, >= 0.

    Returns:
        The misfit in squared label units, `[*b]`.

    Assumes: centred, uncorrelated features.

    Reference: Charikar et al. (arXiv 2405.15116); docs/theory.md 3.8.

    >>> import jax.numpy as jnp
    >>> float(misfit(jnp.array([1.0, 0.0]), jnp.array([1.0, 3.0])))
    9.0
    """
    return excess_risk(student_coef, weak_coef, feature_var)


@kernel
def performance_gap_recovered(
    weak: Float[Array, "..."] | float,
    student: Float[Array, "..."] | float,
    ceiling: Float[Array, "..."] | float,
    *,
    higher_is_better: bool = False,
) -> Float[Array, "..."]:
    """Performance gap recovered: the share of the distance from weak teacher to strong ceiling that a student covers.

        PGR = (R_weak - R_student) / (R_weak - R_ceiling)

    of risks, where lower is better, or of accuracies, where higher is. 0 is no better than the teacher, 1 as good as
    the ceiling; it may be negative or above 1 and is never clipped. Give it means: a ratio of means has an interval
    (`statistics.pgr_interval`), a mean of ratios has not.

    Args:
        weak: mean risk, or accuracy, of the weak teacher, any shape.
        student: that of the student, any shape.
        ceiling: that of the strong ceiling, any shape.
        higher_is_better: False for risks and losses, True for accuracies and scores; static.

    Returns:
        PGR, in the common shape; NaN where the ceiling is no better than the weak teacher (there is no gap to recover;
        if that is so everywhere, see `higher_is_better`). Its gradient there is 0.

    Reference: Burns et al. (arXiv 2312.09390); docs/theory.md 3.9.

    >>> round(float(performance_gap_recovered(0.5, 0.2, 0.1)), 4)
    0.75
    >>> round(float(performance_gap_recovered(0.6, 0.75, 0.9, higher_is_better=True)), 4)
    0.5
    >>> float(performance_gap_recovered(0.0, 0.2, 0.1))
    nan
    """
    weak, student, ceiling = _aligned(weak, student, ceiling)
    if higher_is_better:
        weak, student, ceiling = -weak, -student, -ceiling
    gap = weak - ceiling
    exists = gap > 0
    return jnp.where(exists, (weak - student) / jnp.where(exists, gap, 1.0), jnp.nan)


@kernel
def sign_accuracy(coef: Float[Array, "*#b d"], target_coef: Float[Array, "*#b d"]) -> Float[Array, "..."]:
    """Probability that the predictor and the target agree on the sign of a label.

        P(sign(b . phi) = sign(beta_Q . phi)) = 1 - angle / pi,    angle = atan2(|b - (b . v) v|, b . v)

    with v = beta_Q / |beta_Q|, b = `coef`, beta_Q = `target_coef`. Unlike arccos, this form loses no digits and has
    finite gradients at small angles; at angle 0 or pi, where the angle has a kink, the gradient is 0.

    Args:
        coef: coefficients b, `[*b d]`.
        target_coef: beta_Q, `[*b d]`.

    Returns:
        The sign accuracy, in [0, 1], `[*b]`; NaN where either vector is 0.

    Assumes: gaussian features of equal variance (else multiply both arguments by the root of `feature_var` first).

    Reference: derived, docs/theory.md 3.9.

    >>> import jax.numpy as jnp
    >>> float(sign_accuracy(jnp.array([0.0, 3.0]), jnp.array([1.0, 0.0])))
    0.5
    """
    coef, target_coef = _aligned(coef, target_coef)
    direction = _scaled(target_coef)
    direction = direction / _norm(direction)
    coef = _scaled(coef)
    along = (coef * direction).sum(axis=-1, keepdims=True)
    return (1 - jnp.arctan2(_norm(coef - along * direction), along) / jnp.pi)[..., 0]


def _norm(x: Float[Array, "*b d"]) -> Float[Array, "*b 1"]:
    """Length of the vectors on the last axis, kept as an axis, with gradient 0 (not NaN) at the zero vector."""
    squared = jnp.sum(x**2, axis=-1, keepdims=True)
    return jnp.where(squared == 0, 0.0, jnp.sqrt(jnp.where(squared == 0, 1.0, squared)))


def _scaled(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """Vectors over their largest entry, so that squares neither underflow nor overflow; NaN for the zero vector."""
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))  # cancels, in value and gradient
    return x / jnp.where(scale == 0, jnp.nan, scale)


def _aligned(*values: Float[Array, "..."] | Scalar) -> list[Float[Array, "..."]]:
    """The values with axes of length 1 put in front, so that all have one rank and broadcast without promotion."""
    arrays = [jnp.asarray(value) for value in values]
    rank = max(array.ndim for array in arrays)
    return [array.reshape((1,) * (rank - array.ndim) + array.shape) for array in arrays]
