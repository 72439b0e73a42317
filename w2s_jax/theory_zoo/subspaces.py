r"""Least squares in subspaces: a teacher and a student with different features, and the gain from their difference.

MODEL. Features x ~ N(0, I_D), labels y = beta* . x + sigma eps. The weak teacher sees the d_w coordinates of x in the
subspace V_w alone, the strong student those in V_s; P_w, P_s are the projections. The teacher is least squares on n
labels. The student is least squares on N fresh points that carry the teacher's predictions. Risk is the squared
distance of predictions from beta* . x, label noise not counted. beta* may lie outside either subspace.

EQUATIONS (derived). What a subspace does not see of beta* is independent gaussian noise to it, so a fit on m labels
of noise variance s^2 in a subspace P of dimension d has mean P beta* and covariance v P,

    v = (s^2 + ||(I - P) beta*||^2) / (m - d - 1),

by the mean of an inverse Wishart matrix. Once for the teacher, with v_w = v, and once for the student given the
teacher, whose labels have no noise of their own:

    E R_w = ||(I - P_w) beta*||^2 + v_w d_w
    E R_s = ||beta* - P_s P_w beta*||^2 + v_w d_ws + k [||(I - P_s) P_w beta*||^2 + v_w (d_w - d_ws)]
    k     = d_s / (N - d_s - 1),    d_ws = tr P_w P_s = the sum of squared cosines of the principal angles.

All of it is exact for n > d_w + 1, N > d_s + 1 and any principal angles. Where both subspaces hold beta*, only the
variances are left: the teacher's own survives in full on the overlap, and is multiplied by k on the rest. The student
then wins if and only if k < 1, that is N > 2 d_s + 1, for any overlap short of d_ws = d_w.

Dong et al. (arXiv 2502.05075) state the model and that the variance outside the overlap is reduced by the factor
d_s/N. Here the factor is k on fresh points, which tends to d_s/N for N >> d_s; at the N points themselves it is d_s/N
exactly (`subspace_in_sample_risk`).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.types import Scalar, is_concrete


def subspace_overlap(weak_basis: Float[Array, "D dw"], strong_basis: Float[Array, "D ds"]) -> Float[Array, ""]:
    """Dimension that two subspaces share, counted by squared cosines of their principal angles.

        d_ws = tr P_w P_s = ||W' S||_F^2 = sum_i cos^2 angle_i

    Args:
        weak_basis: W, orthonormal columns that span V_w, `[D d_w]`, unitless.
        strong_basis: S, orthonormal columns that span V_s, `[D d_s]`, unitless.

    Returns:
        Unitless, shape `[]`, in [0, min(d_w, d_s)].

    Reference: the correlation dimension of Dong et al. (arXiv 2502.05075).

    >>> round(float(subspace_overlap(jnp.eye(4)[:, :2], jnp.eye(4)[:, 1:])), 4)
    1.0
    """
    return jnp.sum((weak_basis.T @ strong_basis) ** 2)


def subspace_risk(
    basis: Float[Array, "D d"], target: Float[Array, "D"], num_labels: Scalar, noise_var: Scalar
) -> Float[Array, ""]:
    """Mean excess risk of least squares within a subspace on true labels: the weak teacher, or the strong ceiling.

        E R = ||r||^2 + (sigma^2 + ||r||^2) d / (n - d - 1),    r = (I - P) beta*

    Args:
        basis: orthonormal columns that span the subspace of P, `[D d]`, unitless.
        target: beta*, `[D]`, label units per feature unit.
        num_labels: n > d + 1; traced, shape `[]`.
        noise_var: sigma^2 >= 0, squared label units, shape `[]`.

    Returns:
        Squared label units, shape `[]`; `inf` for a traced n <= d + 1.

    Raises:
        ValueError: if a Python n is at most d + 1, or a Python noise_var is negative.

    Assumes: standard gaussian features.

    Reference: derived, exact; Dong et al. (arXiv 2502.05075) for the model.

    >>> round(float(subspace_risk(jnp.eye(4)[:, :2], jnp.array([1.0, 0.0, 0.5, 0.0]), 13, 0.75)), 4)  # 0.25 + 2/10
    0.45
    """
    _check(basis.shape[1], num_labels, noise_var, "num_labels")
    missed = _outside(basis, target)
    return missed @ missed + basis.shape[1] * _fit_variance(basis, target, num_labels, noise_var)


def subspace_student_risk(
    weak_basis: Float[Array, "D dw"],
    strong_basis: Float[Array, "D ds"],
    target: Float[Array, "D"],
    num_labels: Scalar,
    num_pseudo_labels: Scalar,
    noise_var: Scalar,
) -> Float[Array, ""]:
    """Mean excess risk of the student: least squares in V_s on the predictions of least squares in V_w.

        E R_s = ||beta* - P_s P_w beta*||^2 + v d_ws + k [||(I - P_s) P_w beta*||^2 + v (d_w - d_ws)]
        v = (sigma^2 + ||(I - P_w) beta*||^2) / (n - d_w - 1),    k = d_s / (N - d_s - 1)

    Args:
        weak_basis: orthonormal columns that span V_w, `[D d_w]`, unitless.
        strong_basis: orthonormal columns that span V_s, `[D d_s]`, unitless.
        target: beta*, `[D]`, label units per feature unit.
        num_labels: n > d_w + 1 true labels of the teacher; traced, shape `[]`.
        num_pseudo_labels: N > d_s + 1 fresh points that the teacher labels; traced, shape `[]`; `inf` is allowed.
        noise_var: sigma^2 >= 0 of the true labels, squared label units, shape `[]`.

    Returns:
        Squared label units, shape `[]`; `inf` where a traced n or N is too small.

    Raises:
        ValueError: if a Python n <= d_w + 1, a Python N <= d_s + 1, or a Python noise_var is negative.

    Assumes: standard gaussian features; the two samples are independent.

    Reference: derived, exact; Dong et al. (arXiv 2502.05075) for the model and the split of the variance.

    >>> weak, strong, target = jnp.eye(4)[:, :3], jnp.eye(4)[:, ::3], jnp.array([1.0, 0.0, 0.0, 0.0])
    >>> round(float(subspace_student_risk(weak, strong, target, 14, 13, 1.0)), 4)  # 0.1 (1 + 0.2 2)
    0.14
    """
    settled, movable = _student_parts(weak_basis, strong_basis, target, num_labels, noise_var)
    dim = strong_basis.shape[1]
    _check(dim, num_pseudo_labels, noise_var, "num_pseudo_labels")
    return settled + _times(movable, dim * _reciprocal(num_pseudo_labels - dim - 1.0))


def subspace_student_variance(
    dim_weak: Scalar,
    dim_strong: Scalar,
    overlap: Scalar,
    num_labels: Scalar,
    num_pseudo_labels: Scalar,
    noise_var: Scalar,
) -> Float[Array, ""]:
    """Risk of the student where both subspaces hold the target: `subspace_student_risk` by dimensions alone.

        E R_s = sigma^2 / (n - d_w - 1) [d_ws + d_s / (N - d_s - 1) (d_w - d_ws)]

    Args:
        dim_weak: d_w, shape `[]`.
        dim_strong: d_s, shape `[]`.
        overlap: d_ws in [0, min(d_w, d_s)], not necessarily whole, shape `[]`.
        num_labels: n > d_w + 1 true labels of the teacher; traced, shape `[]`.
        num_pseudo_labels: N > d_s + 1 fresh points that the teacher labels; traced, shape `[]`; `inf` is allowed.
        noise_var: sigma^2 >= 0, squared label units, shape `[]`.

    Returns:
        Squared label units, shape `[]`; `inf` where a traced n or N is too small.

    Raises:
        ValueError: if a Python overlap is negative or exceeds a Python dim_weak, a Python count is too small for its
            subspace, or a Python dim_strong or noise_var is negative.

    Assumes: standard gaussian features, beta* in both subspaces.

    Reference: derived, exact; Dong et al. (arXiv 2502.05075) for the model and the split of the variance.

    >>> round(float(subspace_student_variance(3, 2, 1.0, 14, 13, 1.0)), 4)
    0.14
    """
    most = dim_weak if is_concrete(dim_weak) else jnp.inf
    if is_concrete(overlap) and not 0 <= overlap <= most:
        raise ValueError(f"overlap must be in [0, dim_weak], got {overlap} with dim_weak {most}; see subspace_overlap.")
    if is_concrete(dim_strong) and not dim_strong >= 0:
        raise ValueError(f"dim_strong must not be negative, got {dim_strong}; it is a number of features.")
    _check(dim_weak, num_labels, noise_var, "num_labels")
    _check(dim_strong, num_pseudo_labels, noise_var, "num_pseudo_labels")
    factor = dim_strong * _reciprocal(num_pseudo_labels - dim_strong - 1.0)
    rest = _times(jnp.asarray(1.0 * dim_weak - overlap), factor)
    return _times(noise_var * (overlap + rest), _reciprocal(num_labels - dim_weak - 1.0))


def subspace_in_sample_risk(
    weak_basis: Float[Array, "D dw"],
    strong_basis: Float[Array, "D ds"],
    target: Float[Array, "D"],
    num_labels: Scalar,
    num_pseudo_labels: Scalar,
    noise_var: Scalar,
) -> Float[Array, ""]:
    """Mean squared error of the student at its own N points, where the discrepancy is reduced by exactly d_s/N.

        E (1/N) sum_i (b_s . x_i - beta* . x_i)^2
          = ||beta* - P_s P_w beta*||^2 + v d_ws
            + (d_s/N) [||(I - P_s) P_w beta*||^2 + v (d_w - d_ws) - 2 <(I - P_s) beta*, (I - P_s) P_w beta*>]

    with v as in `subspace_student_risk`. The inner product vanishes where V_s holds beta*: the student also fits a
    part of what it does not see.

    Args:
        weak_basis: orthonormal columns that span V_w, `[D d_w]`, unitless.
        strong_basis: orthonormal columns that span V_s, `[D d_s]`, unitless.
        target: beta*, `[D]`, label units per feature unit.
        num_labels: n > d_w + 1 true labels of the teacher; traced, shape `[]`.
        num_pseudo_labels: N >= d_s points that the teacher labels; traced, shape `[]`.
        noise_var: sigma^2 >= 0 of the true labels, squared label units, shape `[]`.

    Returns:
        Squared label units, shape `[]`.

    Raises:
        ValueError: if a Python n <= d_w + 1, a Python N < d_s, or a Python noise_var is negative.

    Assumes: standard gaussian features; the two samples are independent.

    Reference: derived, exact; Dong et al. (arXiv 2502.05075) for the model and the factor.

    >>> weak, strong, target = jnp.eye(4)[:, :3], jnp.eye(4)[:, ::3], jnp.array([1.0, 0.0, 0.0, 0.0])
    >>> round(float(subspace_in_sample_risk(weak, strong, target, 14, 20, 1.0)), 4)  # 0.1 (1 + 0.1 2)
    0.12
    """
    dim = strong_basis.shape[1]
    if is_concrete(num_pseudo_labels) and not num_pseudo_labels >= dim:
        raise ValueError(f"num_pseudo_labels must be at least {dim}, the student's dimension, got {num_pseudo_labels}.")
    settled, movable = _student_parts(weak_basis, strong_basis, target, num_labels, noise_var)
    shared_miss = _outside(strong_basis, target) @ _outside(strong_basis, _inside(weak_basis, target))
    return settled + dim / num_pseudo_labels * (movable - 2 * shared_miss)


def subspace_breakeven(
    weak_basis: Float[Array, "D dw"],
    strong_basis: Float[Array, "D ds"],
    target: Float[Array, "D"],
    num_labels: Scalar,
    noise_var: Scalar,
) -> Float[Array, ""]:
    """Number of pseudo-labels above which the student's mean risk is below its teacher's.

        N = d_s + 1 + d_s / k*,    k* = [E R_w - ||beta* - P_s P_w beta*||^2 - v d_ws]
                                        / [||(I - P_s) P_w beta*||^2 + v (d_w - d_ws)]

    with v as in `subspace_student_risk`. It is 2 d_s + 1 wherever both subspaces hold beta*, for any noise and overlap.

    Args:
        weak_basis: orthonormal columns that span V_w, `[D d_w]`, unitless.
        strong_basis: orthonormal columns that span V_s, `[D d_s]`, unitless.
        target: beta*, `[D]`, label units per feature unit.
        num_labels: n > d_w + 1 true labels of the teacher; traced, shape `[]`.
        noise_var: sigma^2 >= 0 of the true labels, squared label units, shape `[]`.

    Returns:
        A count, not rounded, shape `[]`; `inf` where no number suffices. Where the student can follow its teacher
        exactly (V_w in V_s) the two risks agree at every N and there is none either.

    Raises:
        ValueError: if a Python n <= d_w + 1, or a Python noise_var is negative.

    Assumes: standard gaussian features; the two samples are independent.

    Reference: derived, exact; Dong et al. (arXiv 2502.05075) for the model.

    >>> target = jnp.array([1.0, 0.0, 0.0, 0.0])
    >>> float(subspace_breakeven(jnp.eye(4)[:, :3], jnp.eye(4)[:, ::3], target, 14, 1.0))
    5.0
    """
    settled, movable = _student_parts(weak_basis, strong_basis, target, num_labels, noise_var)
    teacher = subspace_risk(weak_basis, target, num_labels, noise_var)
    room, dim = teacher - settled, strong_basis.shape[1]
    rounding = 8 * float(jnp.finfo(teacher.dtype).eps) * weak_basis.shape[0] * teacher
    wins = (room > rounding) & (movable > rounding)  # V_w in V_s leaves a 0/0 of rounding errors
    return jnp.where(wins, dim + 1.0 + dim * movable / jnp.where(wins, room, 1.0), jnp.inf)


def subspace_pgr(
    weak_basis: Float[Array, "D dw"],
    strong_basis: Float[Array, "D ds"],
    target: Float[Array, "D"],
    num_labels: Scalar,
    num_pseudo_labels: Scalar,
    noise_var: Scalar,
    num_ceiling_labels: Scalar | None = None,
) -> Float[Array, ""]:
    """Performance gap recovered: the share of the way from the teacher's mean risk to the ceiling's.

        PGR = (E R_w - E R_s) / (E R_w - E R_c)

    with R_c the risk of least squares in V_s on true labels. It tends to 1 - d_ws/d_w for N -> inf and many ceiling
    labels where both subspaces hold beta*.

    Args:
        weak_basis: orthonormal columns that span V_w, `[D d_w]`, unitless.
        strong_basis: orthonormal columns that span V_s, `[D d_s]`, unitless.
        target: beta*, `[D]`, label units per feature unit.
        num_labels: n > d_w + 1 true labels of the teacher; traced, shape `[]`.
        num_pseudo_labels: N > d_s + 1 fresh points that the teacher labels; traced, shape `[]`.
        noise_var: sigma^2 >= 0 of the true labels, squared label units, shape `[]`.
        num_ceiling_labels: true labels of the ceiling, > d_s + 1; N by default; traced, shape `[]`.

    Returns:
        Unitless, shape `[]`; negative where the student is worse than its teacher, which may be because the ceiling is.

    Raises:
        ValueError: if a Python count is too small for its subspace, or a Python noise_var is negative.

    Assumes: standard gaussian features; the samples are independent.

    Reference: derived, exact as a ratio of means; Dong et al. (arXiv 2502.05075) for the model.

    >>> weak, strong, target = jnp.eye(4)[:, :3], jnp.eye(4)[:, ::3], jnp.array([1.0, 0.0, 0.0, 0.0])
    >>> round(float(subspace_pgr(weak, strong, target, 14, 13, 1.0, 10**9)), 4)  # (0.3 - 0.14)/0.3
    0.5333
    """
    clean = num_pseudo_labels
    if num_ceiling_labels is not None:
        clean = num_ceiling_labels
        _check(strong_basis.shape[1], clean, noise_var, "num_ceiling_labels")
    teacher = subspace_risk(weak_basis, target, num_labels, noise_var)
    student = subspace_student_risk(weak_basis, strong_basis, target, num_labels, num_pseudo_labels, noise_var)
    return (teacher - student) / (teacher - subspace_risk(strong_basis, target, clean, noise_var))


def _student_parts(weak_basis, strong_basis, target, num_labels, noise_var):
    """(what no number of pseudo-labels removes, what k multiplies)."""
    _check(weak_basis.shape[1], num_labels, noise_var, "num_labels")
    teacher = _inside(weak_basis, target)  # its mean
    variance = _fit_variance(weak_basis, target, num_labels, noise_var)
    overlap = subspace_overlap(weak_basis, strong_basis)
    unseen = _outside(strong_basis, teacher)
    settled = jnp.sum((target - _inside(strong_basis, teacher)) ** 2) + variance * overlap
    return settled, unseen @ unseen + variance * (weak_basis.shape[1] - overlap)


def _fit_variance(basis, target, num_labels, noise_var) -> Float[Array, ""]:
    """v: variance of each coefficient of least squares in the subspace."""
    missed = _outside(basis, target)
    noise = noise_var + missed @ missed
    return _times(noise, _reciprocal(num_labels - basis.shape[1] - 1.0))


def _inside(basis, vector):
    return basis @ (basis.T @ vector)


def _outside(basis, vector):
    return vector - _inside(basis, vector)


def _reciprocal(room) -> Float[Array, ""]:
    """1/room, and `inf` where there is no room."""
    room = jnp.asarray(room)
    return jnp.where(room > 0, 1 / jnp.where(room > 0, room, 1.0), jnp.inf)


def _times(part, factor) -> Float[Array, ""]:
    """part * factor, where nothing times `inf` is nothing."""
    finite = jnp.isfinite(factor)
    return jnp.where(finite, part * jnp.where(finite, factor, 1.0), jnp.where(part > 0, jnp.inf, 0.0))


def _check(dim, count, noise_var, name: str) -> None:
    least = dim + 1
    if is_concrete(count) and is_concrete(dim) and not count > least:
        raise ValueError(f"{name} must exceed the dimension of its subspace + 1 = {least}, got {count}; draw more.")
    if is_concrete(noise_var) and not noise_var >= 0:
        raise ValueError(f"noise_var must not be negative, got {noise_var}; 0 is clean labels.")
