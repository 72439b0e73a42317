"""Weak-to-strong generalization with random features and early stopping.

MODEL (Medvedev et al., arXiv 2503.02877, for the model and the claim). Functions are vectors of coefficients over d
orthonormal functions, the eigenfunctions of the student's kernel with eigenvalues lambda_i >= 0. The target is b. The
teacher is the best function (infinite data) in the span of m random features, gaussian linear ones: its coefficients
are theta = P b, with P the projection on a random m-dimensional subspace. The student follows the gradient flow of half
the mean squared error from zero, on infinitely many labels of its teacher, and is stopped at time t.

EQUATIONS (derived here; risks are squared distances from b).

    flow               student coefficients g_i theta_i,    g_i = 1 - e^(-lambda_i t)
    isotropic features P is Haar: E P = (m/d) I, and with c = m (d - m)/(d (d - 1)(d + 2)), e = m^2/d^2 - 2c/d
                       E theta_i^2 = (e + c) b_i^2 + c |b|^2
    teacher            E R_w = (1 - m/d) |b|^2
    student            E R(t) = sum_i b_i^2 (1 - 2 g_i m/d + g_i^2 (e + c)) + c |b|^2 sum_i g_i^2
    two levels         b in s leading directions (eigenvalue l), d - s trailing ones (eigenvalue r < l), |b| = 1:
                       E R(t) = 1 - 2 A g_l + B g_l^2 + C g_r^2,    A = m/d, B = e + c + c s, C = c (d - s), B + C = A
                       best t: the only root of (A - B g_l) l e^(-l t) = C r e^(-r t) g_r
    floor              any teacher that is a projection, of risk R_w; any student kernel and time; |b| = 1:
                       R >= ((1 + 3 R_w)^(1/2) - (1 - R_w)^(1/2))^2/4 = R_w^2 - O(R_w^3)

The floor: g is a symmetric contraction, 0 <= g <= 1, so u = g theta has <u, theta - u> >= 0 and lies in the ball with
diameter [0, theta]; <b, theta> = |theta|^2 = 1 - R_w gives the distance of b from it. It is sharp: the student whose
only fast direction is the nearest point of the ball attains it. So a student cannot beat the square of its teacher's
error by more than a factor that tends to 1 for good teachers. One leading direction along b (s = 1, r -> 0) gives
R_w^2 itself, with R_w ~ Beta((d - m)/2, m/2).

    features of        teacher features u . x with u ~ N(0, I) and x ~ N(0, diag sigma_i): P is no longer Haar. For m
    unequal variance   and d large together, with kappa the root of sum_i sigma_i/(sigma_i + kappa) = m,
                       k_i = kappa/(sigma_i + kappa) and h_i = sigma_i/(sigma_i + kappa)^2,
                       E P_ii = 1 - k_i
                       E theta_i^2 = (1 - k_i)^2 b_i^2 + h_i sum_j k_j^2 sigma_j b_j^2/(kappa sum h)

The last two are deterministic equivalents, not exact; for equal variances the first is exact and the second off by
O(1/d).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.types import Scalar, is_concrete

STEPS = 80
"""Halvings of an interval: to the last bit of a double."""


class TwoLevel(NamedTuple):
    """A student with two eigenvalues, and the width of its teacher; the target lies in the leading directions."""

    dim: Scalar
    """d >= 2: directions."""
    num_leading: Scalar
    """s: directions of the larger eigenvalue, 1 <= s <= d."""
    width: Scalar
    """m: random features of the teacher, 1 <= m <= d."""
    leading: Scalar
    """l > 0: the larger eigenvalue, in units of 1/time."""
    trailing: Scalar
    """r, 0 <= r <= l: the smaller one."""


def flow_risk(
    target_coef: Float[Array, "d"], teacher_coef: Float[Array, "d"], eigenvalues: Float[Array, "d"], time: Scalar
) -> Float[Array, ""]:
    """Risk of the student at a time of its gradient flow, for a given teacher.

        R(t) = sum_i (b_i - (1 - e^(-lambda_i t)) theta_i)^2

    with b = `target_coef`, theta = `teacher_coef`, lambda = `eigenvalues`, t = `time`.

    Args:
        target_coef: b, over the eigenfunctions of the student's kernel, label units, `[d]`.
        teacher_coef: theta, likewise, `[d]`.
        eigenvalues: lambda >= 0, in units of 1/time, `[d]`.
        time: t >= 0, finite, of the flow of half the mean squared error, `[]`.

    Returns:
        Squared label units, `[]`.

    Raises:
        ValueError: if a Python time is negative.

    Assumes: infinitely many labels of the teacher.

    Reference: Medvedev et al. (arXiv 2503.02877) for early stopping; derived.

    >>> import math
    >>> b, theta = jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5])
    >>> float(flow_risk(b, theta, jnp.array([1.0, 0.0]), 50.0))  # the leading direction alone
    0.25
    """
    if is_concrete(time) and not time >= 0:
        raise ValueError(f"time must not be negative, got {time}; 0 is the student before training.")
    return jnp.sum((target_coef + jnp.expm1(-eigenvalues * time) * teacher_coef) ** 2)


def random_teacher_risk(target_coef: Float[Array, "d"], width: Scalar) -> Float[Array, ""]:
    """Mean risk of a teacher with m random features.

        E R_w = (1 - m/d) |b|^2

    with b = `target_coef`, m = `width`.

    Args:
        target_coef: b, label units, `[d]`.
        width: m, 0 <= m <= d, random features, `[]`.

    Returns:
        Squared label units, `[]`.

    Raises:
        ValueError: if a Python width is not in [0, d].

    Assumes: a uniformly (Haar) distributed subspace, infinite data.

    Reference: derived.

    >>> float(random_teacher_risk(jnp.array([2.0, 0.0, 0.0, 0.0]), 3))
    1.0
    """
    dim = target_coef.shape[-1]
    _check_width(width, dim)
    return (1 - width / dim) * jnp.sum(target_coef**2)


def random_teacher_flow_risk(
    target_coef: Float[Array, "d"], eigenvalues: Float[Array, "d"], width: Scalar, time: Scalar
) -> Float[Array, ""]:
    """Mean risk of the student at a time of its flow, over random teachers; exact at every d >= 2.

        E R(t) = sum_i b_i^2 (1 - 2 g_i m/d + g_i^2 (e + c)) + c |b|^2 sum_i g_i^2,    g_i = 1 - e^(-lambda_i t)

    with b = `target_coef`, lambda = `eigenvalues`, m = `width`, t = `time`, c = m (d - m)/(d (d - 1)(d + 2)) and e =
    m^2/d^2 - 2c/d.

    Args:
        target_coef: b, over the eigenfunctions of the student's kernel, label units, `[d]`.
        eigenvalues: lambda >= 0, in units of 1/time, `[d]`.
        width: m, 0 <= m <= d, random features of the teacher, `[]`.
        time: t >= 0, finite, `[]`.

    Returns:
        Squared label units, `[]`; |b|^2 at t = 0, the teacher's mean risk at the end if all eigenvalues are positive.

    Raises:
        ValueError: if a Python time is negative or a Python width is not in [0, d].

    Assumes: a uniformly (Haar) distributed subspace, infinite data.

    Reference: derived from the second moments of a random projection.

    >>> risk = random_teacher_flow_risk(jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.array([1.0, 0.0, 0.0, 0.0]), 2, 50.0)
    >>> round(float(risk), 4)  # E (1 - q)^2 = 2 (2 + 2)/(4 (4 + 2)); the teacher has 1/2
    0.3333
    """
    if is_concrete(time) and not time >= 0:
        raise ValueError(f"time must not be negative, got {time}; 0 is the student before training.")
    dim = target_coef.shape[-1]
    _check_width(width, dim)
    product, swap = _projection_moments(dim, width)
    g, squares = -jnp.expm1(-eigenvalues * time), target_coef**2
    own = jnp.sum(squares * (1 - 2 * g * width / dim + g**2 * (product + swap)))
    return own + swap * jnp.sum(squares) * jnp.sum(g**2)


def best_stopping_time(student: TwoLevel) -> Float[Array, ""]:
    """When to stop a student of two eigenvalues: the least mean risk over random teachers.

        the only t with (A - B g_l) l e^(-l t) = C r e^(-r t) g_r,    g_l = 1 - e^(-l t), g_r = 1 - e^(-r t)

    with l = `leading`, r = `trailing`, s = `num_leading`, A = m/d, C = c (d - s), B = A - C, m = `width`, d = `dim`,
    c as in `random_teacher_flow_risk`. Left over right falls from infinity to 0, so there is one root.

    Args:
        student: a `TwoLevel`.

    Returns:
        t, in units of 1/eigenvalue, `[]`; `inf` where stopping does not help: r = 0, r = l, s = d or m = d.

    Raises:
        ValueError: if a Python number of the student is out of its range.

    Assumes: a uniformly (Haar) distributed subspace, infinite data, a target in the leading directions.

    Reference: derived.

    >>> round(float(best_stopping_time(TwoLevel(dim=20, num_leading=2, width=12, leading=1.0, trailing=0.01))), 2)
    7.33
    """
    _check_student(student)
    own, kept, leaked = _two_level_terms(student)
    stops = (student.trailing > 0) & (student.leading > student.trailing) & (leaked > 0)
    ratio = jnp.where(stops, student.leading / jnp.where(stops, student.trailing, 1.0), 2.0)
    leaked = jnp.where(stops, leaked, 1.0)

    def balance(x, own, kept, leaked, ratio):
        """The condition in x = r t, over r e^-x: falls in x."""
        gained = (own + kept * jnp.expm1(-ratio * x)) * ratio * jnp.exp(-(ratio - 1) * x)
        return gained + leaked * jnp.expm1(-x)

    terms = tuple(jnp.asarray(value, float) for value in (own, kept, leaked, ratio))
    x = jnp.exp(_falling_root(lambda y, *given: balance(jnp.exp(y), *given), (-40.0, 6.0), *terms))
    return jnp.where(stops, x / jnp.where(stops, student.trailing, 1.0), jnp.inf)


def stopped_risk(student: TwoLevel) -> Float[Array, ""]:
    """Mean risk of the student that is stopped at the time which is best for that mean, in units of |b|^2.

        E R = 1 - 2 A g_l + B g_l^2 + C g_r^2    at t = `best_stopping_time`

    with A, B, C, g_l, g_r as there.

    Args:
        student: a `TwoLevel`.

    Returns:
        Share of the target's square, `[]`; at most 1 - m/d, the teacher's.

    Raises:
        ValueError: if a Python number of the student is out of its range.

    Assumes: as `best_stopping_time`.

    Reference: derived.

    >>> round(float(stopped_risk(TwoLevel(dim=20, num_leading=2, width=12, leading=1.0, trailing=0.01))), 4)
    0.1946
    """
    time = best_stopping_time(student)
    own, kept, leaked = _two_level_terms(student)
    lead, trail = (
        jnp.where(rate > 0, -jnp.expm1(-jnp.where(rate > 0, rate, 1.0) * time), 0.0)
        for rate in (student.leading, student.trailing)
    )
    return 1 - 2 * own * lead + kept * lead**2 + leaked * trail**2


def stopped_pgr(student: TwoLevel) -> Float[Array, ""]:
    """Performance gap recovered by the student that is stopped at its best time.

        PGR = 1 - E R/(1 - m/d)

    with E R = `stopped_risk`, m = `width`, d = `dim`. The ceiling is a student trained on true labels, without end: its
    risk is 0.

    Args:
        student: a `TwoLevel` with width < dim.

    Returns:
        In [0, 1], `[]`; NaN at m = d, where the teacher is perfect.

    Raises:
        ValueError: if a Python number of the student is out of its range.

    Assumes: as `best_stopping_time`.

    Reference: Burns et al. (arXiv 2312.09390) for the ratio; derived.

    >>> round(float(stopped_pgr(TwoLevel(dim=20, num_leading=2, width=12, leading=1.0, trailing=0.01))), 4)
    0.5135
    """
    stopped = stopped_risk(student)  # which checks the student
    weak = 1 - student.width / student.dim
    return jnp.where(weak > 0, 1 - stopped / jnp.where(weak > 0, weak, 1.0), jnp.nan)


def student_floor(teacher_risk: Scalar) -> Float[Array, ""]:
    """The least risk of any student of a teacher of given risk, over all kernels and stopping times.

        R >= ((1 + 3 R_w)^(1/2) - (1 - R_w)^(1/2))^2/4,    between (3/4) R_w^2 and R_w^2

    with R_w = `teacher_risk`; attained by a student of one fast direction. Without the flow's 0 <= g <= 1 only
    R >= (1 - (1 - R_w)^(1/2))^2, about R_w^2/4, would follow.

    Args:
        teacher_risk: R_w in [0, 1], in units of |b|^2, `[]`.

    Returns:
        Share of the target's square, `[]`.

    Raises:
        ValueError: if a Python risk is not in [0, 1].

    Assumes: a teacher that is the projection of the target on some subspace; nothing of the subspace.

    Reference: Medvedev et al. (arXiv 2503.02877) for the claim that the square of the teacher's error is the limit;
        derived, with a constant that belongs to this derivation.

    >>> round(float(student_floor(0.1)), 5)
    0.00917
    """
    if is_concrete(teacher_risk) and not 0 <= teacher_risk <= 1:
        raise ValueError(
            f"teacher_risk must be in [0, 1], got {teacher_risk}; give it in units of the target's square."
        )
    # The difference of roots by their sum: no digits are lost for good teachers.
    return 4 * teacher_risk**2 / (jnp.sqrt(1.0 + 3 * teacher_risk) + jnp.sqrt(1.0 - teacher_risk)) ** 2


def spectrum_teacher_risk(
    target_coef: Float[Array, "d"], variances: Float[Array, "d"], width: Scalar
) -> Float[Array, ""]:
    """Mean risk of a teacher whose m random features read inputs of unequal variances, for m and d large together.

        E R_w = sum_i b_i^2 kappa/(sigma_i + kappa),    sum_i sigma_i/(sigma_i + kappa) = m

    with b = `target_coef`, sigma = `variances`, m = `width`.

    Args:
        target_coef: b, over the standardised principal components of the inputs, label units, `[d]`.
        variances: sigma > 0, `[d]`.
        width: m, 0 < m < d, random features, `[]`.

    Returns:
        Squared label units, `[]`.

    Raises:
        ValueError: if a Python width is not in (0, d).

    Assumes: gaussian features and inputs; a deterministic equivalent, exact for equal variances.

    Reference: derived from the resolvent of a Wishart matrix.

    >>> round(float(spectrum_teacher_risk(jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.full(4, 2.0), 3)), 6)
    0.25
    """
    kappa = _spectrum_root(variances, width)
    return jnp.sum(target_coef**2 * kappa / (variances + kappa))


def spectrum_flow_risk(
    target_coef: Float[Array, "d"],
    variances: Float[Array, "d"],
    eigenvalues: Float[Array, "d"],
    width: Scalar,
    time: Scalar,
) -> Float[Array, ""]:
    """Mean risk of the student of such a teacher at a time of its flow, for m and d large together.

        E R(t) = sum_i b_i^2 (1 - 2 g_i (1 - k_i)) + g_i^2 E theta_i^2,    k_i = kappa/(sigma_i + kappa)
        E theta_i^2 = (1 - k_i)^2 b_i^2 + h_i sum_j k_j^2 sigma_j b_j^2/(kappa sum h)
        h_i = sigma_i/(sigma_i + kappa)^2

    with g_i = 1 - e^(-lambda_i t), b = `target_coef`, sigma = `variances`, lambda = `eigenvalues`, t = `time` and kappa
    as in `spectrum_teacher_risk`, which is the risk at the end of the flow.

    Args:
        target_coef: b, over the standardised principal components of the inputs, label units, `[d]`.
        variances: sigma > 0, `[d]`.
        eigenvalues: lambda >= 0 of the student's kernel, `[d]`; `variances` for a linear network of infinite width.
        width: m, 0 < m < d, random features of the teacher, `[]`.
        time: t >= 0, finite, `[]`.

    Returns:
        Squared label units, `[]`.

    Raises:
        ValueError: if a Python time is negative or a Python width is not in (0, d).

    Assumes: gaussian features and inputs; a deterministic equivalent, off by O(1/m): too low by some 5% at m = 20.

    Reference: derived from products of resolvents of a Wishart matrix.

    >>> variances = jnp.array([1.0, 1.0, 0.1, 0.1, 0.1, 0.1])
    >>> b = jnp.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    >>> late = spectrum_flow_risk(b, variances, variances, 3, 1e4)
    >>> bool(jnp.isclose(late, spectrum_teacher_risk(b, variances, 3), rtol=1e-4))
    True
    """
    if is_concrete(time) and not time >= 0:
        raise ValueError(f"time must not be negative, got {time}; 0 is the student before training.")
    kappa = _spectrum_root(variances, width)
    g, missed = -jnp.expm1(-eigenvalues * time), kappa / (variances + kappa)
    scatter = variances / (variances + kappa) ** 2
    share = jnp.sum(missed**2 * variances * target_coef**2) / (kappa * jnp.sum(scatter))
    squared = (1 - missed) ** 2 * target_coef**2 + scatter * share
    return jnp.sum(target_coef**2 * (1 - 2 * g * (1 - missed)) + g**2 * squared)


def _projection_moments(dim, width):
    """(e, c) of E P_ij P_kl = e d_ij d_kl + c (d_ik d_jl + d_il d_jk)."""
    swap = width * (dim - width) / (dim * (dim - 1.0) * (dim + 2))
    return (width / dim) ** 2 - 2 * swap / dim, swap


def _two_level_terms(student: TwoLevel):
    """(A, B, C)."""
    _, swap = _projection_moments(student.dim, student.width)
    leaked = swap * (student.dim - student.num_leading)
    own = student.width / student.dim
    return own, own - leaked, leaked


def _spectrum_root(variances: Float[Array, "d"], width: Scalar) -> Float[Array, ""]:
    """kappa: how large a penalty the finite width acts as."""
    dim = variances.shape[-1]
    if is_concrete(width) and not 0 < width < dim:
        raise ValueError(f"width must be in (0, {dim}), got {width}; all features give the target itself.")
    middle = jnp.log(jnp.sum(variances) / width)  # no root is above it
    given = (jnp.asarray(variances, float), jnp.asarray(width, float), jax.lax.stop_gradient(middle))
    root = _falling_root(
        lambda y, sigma, m, top: jnp.sum(sigma / (sigma + jnp.exp(y + top))) - m, (-60.0, 1e-6), *given
    )
    return jnp.exp(root + given[2])


def _falling_root(function, interval: tuple[float, float], *given) -> Float[Array, ""]:
    """Where a falling function of its first argument is 0; the derivative in what is given is that of the root."""
    held = jax.lax.stop_gradient(given)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        above = function(middle, *held) > 0
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    start = tuple(jnp.asarray(end, float) for end in interval)
    low, high = jax.lax.fori_loop(0, STEPS, halve, start)
    root = jax.lax.stop_gradient((low + high) / 2)
    slope = jax.lax.stop_gradient(jax.grad(function)(root, *held))
    return root - function(root, *given) / slope


def _check_width(width: Scalar, dim: int) -> None:
    if is_concrete(width) and not 0 <= width <= dim:
        raise ValueError(f"width must be in [0, {dim}], got {width}; more features than directions are redundant.")


def _check_student(student: TwoLevel) -> None:
    values = dict(zip(student._fields, student))
    if not all(is_concrete(value) for value in values.values()):
        return
    if not 1 <= values["num_leading"] <= values["dim"] or not 1 <= values["width"] <= values["dim"]:
        raise ValueError(
            f"num_leading and width must be in [1, dim], got {student.num_leading} and {student.width}; "
            f"dim is {student.dim}."
        )
    if not 0 <= values["trailing"] <= values["leading"] or not values["leading"] > 0 or not values["dim"] >= 2:
        raise ValueError(
            f"0 <= trailing <= leading, leading > 0 and dim >= 2 must hold, got {student}; name the larger one leading."
        )
