"""Quantifying the gain of weak-to-strong generalization by the misfit.

MODEL (Charikar, Pabbaraju and Shiragur, arXiv 2405.15116, for the model and the claim). Inputs x in R^d have mean 0 and
covariance C. Target and weak teacher are b_t . x and b_w . x. The student is linear in k strong features A x, with A of
full row rank, and is fitted to the teacher by squared loss: on the whole population, or on n gaussian inputs with
labels b_w . x + noise of variance sigma^2. All norms are those of functions, |b|^2 = b'Cb = E (b . x)^2. Write P for
the projection on the student's class {A'w} in this norm.

EQUATIONS (all derived here).

    population     b_s = P b_w = A'(A C A')^-1 A C b_w,      misfit M = |b_w - b_s|^2
                   R(weak) - R(student) = M - 2 o,           o = <(I - P) b_w, (I - P) b_t>
    realizable     b_t in the class: o = 0, and the gain is the misfit
    not so         |o| <= sqrt(M a), a = |(I - P) b_t|^2:    R(student) <= R(weak) - M + 2 sqrt(M a)
    convex class   b_s = nearest point c of the class:       R(weak) - R(student) = M + 2 <b_w - c, c - b_t>,
                   where the inner product is >= 0 if b_t is in the class
    n inputs       b_hat - b_s = sqrt(v / chi^2_(n-k+1)) (standard normals of the class),   v = sigma^2 + M
                   E R(b_hat) = R(student) + V,              V = v k/(n - k - 1)
                   E |b_w - b_hat|^2 = M + V,                E residual sum of squares / n = v (n - k)/n
                   gain = M - 2 o - V = E |b_w - b_hat|^2 - 2 o - 2 V

The part of the teacher that the class cannot express is independent of the strong features, as both are gaussian: label
noise, of variance M. So the misfit is gained once and paid for k/(n - k - 1) times. A noise-free teacher of a target
in the class is beaten in the mean if and only if n > 2k + 1, for any teacher.

`w2s_jax.theory.span` has the special case of concepts as strong features, isotropic inputs, and a target in the class.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.types import Scalar, is_concrete


class LinearClass(NamedTuple):
    """A student's class, its teacher and its target, all linear in x."""

    strong_map: Float[Array, "k d"]
    """A: the strong features are A x. Full row rank, k <= d."""
    weak_coef: Float[Array, "d"]
    """b_w: the teacher is b_w . x."""
    target_coef: Float[Array, "d"]
    """b_t: the target is b_t . x, in the class or not."""
    input_cov: Float[Array, "d d"]
    """C: covariance of x, symmetric; A C A' must be invertible."""


def projected_coef(problem: LinearClass) -> Float[Array, "d"]:
    """Coefficients of the student that is fitted to its teacher on the whole population.

        b_s = A'(A C A')^-1 A C b_w

    with A = `strong_map`, b_w = `weak_coef`, C = `input_cov` of `problem`.

    Args:
        problem: a `LinearClass`; `target_coef` plays no part.

    Returns:
        b_s, in label units per input unit, `[d]`.

    Raises:
        ValueError: if there are more strong features than inputs.

    Assumes: inputs of mean 0; any distribution with this covariance.

    Reference: Charikar et al. (arXiv 2405.15116); derived.

    >>> problem = LinearClass(jnp.array([[1.0, 0.0]]), jnp.array([1.0, 2.0]), jnp.array([2.0, 0.0]), jnp.eye(2))
    >>> projected_coef(problem).tolist()
    [1.0, 0.0]
    """
    return problem.strong_map.T @ _strong_weights(problem, problem.weak_coef)


def projected_risk(problem: LinearClass) -> Float[Array, ""]:
    """Excess risk of the student that is fitted on the whole population: the teacher's, less the gain.

        R(student) = |b_s - b_t|^2 = R(weak) - M + 2 o

    with b_s = `projected_coef`, b_t = `target_coef`, M = `projection_misfit`, o = `projection_overlap`.

    Args:
        problem: a `LinearClass`.

    Returns:
        Squared label units, `[]`.

    Raises:
        ValueError: if there are more strong features than inputs.

    Assumes: inputs of mean 0; any distribution with this covariance.

    Reference: Charikar et al. (arXiv 2405.15116); derived.

    >>> problem = LinearClass(jnp.array([[1.0, 0.0]]), jnp.array([1.0, 2.0]), jnp.array([2.0, 0.0]), jnp.eye(2))
    >>> float(projected_risk(problem))  # 5 - 4
    1.0
    """
    return _square(problem, projected_coef(problem) - problem.target_coef)


def projection_misfit(problem: LinearClass) -> Float[Array, ""]:
    """Misfit of the population student: what of its teacher the class cannot express.

        M = |b_w - b_s|^2 = |(I - P) b_w|^2

    with b_w = `weak_coef`, b_s = `projected_coef`.

    Args:
        problem: a `LinearClass`; `target_coef` plays no part, so that M can be measured without any true label.

    Returns:
        Squared label units, `[]`.

    Raises:
        ValueError: if there are more strong features than inputs.

    Assumes: inputs of mean 0; any distribution with this covariance.

    Reference: Charikar et al. (arXiv 2405.15116); derived.

    >>> problem = LinearClass(jnp.array([[1.0, 0.0]]), jnp.array([1.0, 2.0]), jnp.array([2.0, 0.0]), jnp.eye(2))
    >>> float(projection_misfit(problem))
    4.0
    """
    return _square(problem, problem.weak_coef - projected_coef(problem))


def projection_overlap(problem: LinearClass) -> Float[Array, ""]:
    """Where the target is out of the class: what teacher and target share outside of it, and the student loses.

        o = <(I - P) b_w, (I - P) b_t>,    R(weak) - R(student) = M - 2 o,    |o| <= sqrt(M a)

    with b_w = `weak_coef`, b_t = `target_coef`, M = `projection_misfit`, a = `projection_floor`.

    Args:
        problem: a `LinearClass`.

    Returns:
        Squared label units, either sign, `[]`; 0 for a target in the class.

    Raises:
        ValueError: if there are more strong features than inputs.

    Assumes: inputs of mean 0; any distribution with this covariance.

    Reference: derived; the paper bounds the loss.

    >>> problem = LinearClass(jnp.array([[1.0, 0.0]]), jnp.array([1.0, 2.0]), jnp.array([2.0, 0.5]), jnp.eye(2))
    >>> float(projection_overlap(problem))
    1.0
    """
    return (problem.weak_coef - projected_coef(problem)) @ problem.input_cov @ problem.target_coef


def projection_floor(problem: LinearClass) -> Float[Array, ""]:
    """The least risk in the student's class: that of the projected target.

        a = |(I - P) b_t|^2

    with b_t = `target_coef`.

    Args:
        problem: a `LinearClass`; `weak_coef` plays no part.

    Returns:
        Squared label units, `[]`; 0 for a target in the class.

    Raises:
        ValueError: if there are more strong features than inputs.

    Assumes: inputs of mean 0; any distribution with this covariance.

    Reference: derived.

    >>> problem = LinearClass(jnp.array([[1.0, 0.0]]), jnp.array([1.0, 2.0]), jnp.array([2.0, 0.5]), jnp.eye(2))
    >>> float(projection_floor(problem))
    0.25
    """
    inside = problem.strong_map.T @ _strong_weights(problem, problem.target_coef)
    return _square(problem, problem.target_coef - inside)


def ball_projected_coef(problem: LinearClass, radius: Scalar) -> Float[Array, "d"]:
    """The student of a convex class: functions of the strong features whose root mean square is at most a radius.

        c = b_s min(1, r/|b_s|),    R(weak) - R(c) = M_c + 2 <b_w - c, c - b_t>,    M_c = |b_w - c|^2

    with b_s = `projected_coef`, r = `radius`; the inner product is `convex_gain_slack`, >= 0 for a target in the ball.

    Args:
        problem: a `LinearClass`; `target_coef` plays no part.
        radius: r > 0, in label units, `[]`.

    Returns:
        c, `[d]`.

    Raises:
        ValueError: if a Python radius is not positive, or if there are more strong features than inputs.

    Assumes: inputs of mean 0; any distribution with this covariance.

    Reference: Charikar et al. (arXiv 2405.15116) for convex classes; derived.

    >>> problem = LinearClass(jnp.array([[1.0, 0.0]]), jnp.array([3.0, 2.0]), jnp.array([1.0, 0.0]), jnp.eye(2))
    >>> ball_projected_coef(problem, 2.0).tolist()
    [2.0, 0.0]
    """
    if is_concrete(radius) and not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}; give the largest root mean square of the class.")
    free = projected_coef(problem)
    square = _square(problem, free)
    outside = square > radius**2
    return free * jnp.where(outside, radius / jnp.sqrt(jnp.where(outside, square, 1.0)), 1.0)


def box_projected_coef(problem: LinearClass, bound: Float[Array, "k"] | Scalar) -> Float[Array, "d"]:
    """The student of another convex class: every weight of a strong feature is at most a bound.

        c = A'w,    w_j = min(max(u_j, -B_j), B_j),    u = (A C A')^-1 A C b_w

    with A = `strong_map`, b_w = `weak_coef`, C = `input_cov`, B = `bound`.

    Args:
        problem: a `LinearClass` of uncorrelated strong features (A C A' diagonal), which is not checked: only then is
            clipping the projection. `target_coef` plays no part.
        bound: B > 0, in label units per unit of a strong feature, `[]` or `[k]`.

    Returns:
        c, `[d]`.

    Raises:
        ValueError: if a Python bound is not positive, or if there are more strong features than inputs.

    Assumes: inputs of mean 0; any distribution with this covariance.

    Reference: Charikar et al. (arXiv 2405.15116) for convex classes; derived.

    >>> problem = LinearClass(jnp.eye(2), jnp.array([3.0, -0.5]), jnp.array([1.0, 0.0]), jnp.eye(2))
    >>> box_projected_coef(problem, 2.0).tolist()
    [2.0, -0.5]
    """
    if is_concrete(bound) and not bound > 0:
        raise ValueError(f"bound must be positive, got {bound}; give the largest weight of a strong feature.")
    return problem.strong_map.T @ jnp.clip(_strong_weights(problem, problem.weak_coef), -bound, bound)


def convex_gain_slack(problem: LinearClass, student_coef: Float[Array, "d"]) -> Float[Array, ""]:
    """By how much a student gains more than its misfit: at least nothing on a convex class that contains the target.

        R(weak) - R(student) - |b_w - c|^2 = 2 <b_w - c, c - b_t>

    with c = `student_coef`, b_w = `weak_coef`, b_t = `target_coef`. On a ball of radius r and a target in the class it
    is 2 (|b_s|/r - 1)(r^2 - <c, b_t>) where the ball cuts, 0 where not.

    Args:
        problem: a `LinearClass`.
        student_coef: c, any coefficients, `[d]`.

    Returns:
        Squared label units, `[]`; either sign where c is no projection or b_t is not in the class.

    Assumes: inputs of mean 0; any distribution with this covariance.

    Reference: Charikar et al. (arXiv 2405.15116) for the inequality; derived.

    >>> problem = LinearClass(jnp.array([[1.0, 0.0]]), jnp.array([3.0, 2.0]), jnp.array([1.0, 0.0]), jnp.eye(2))
    >>> float(convex_gain_slack(problem, ball_projected_coef(problem, 2.0)))
    2.0
    """
    return 2 * (problem.weak_coef - student_coef) @ problem.input_cov @ (student_coef - problem.target_coef)


def projection_sample_risk(problem: LinearClass, num_samples: Scalar, noise_var: Scalar = 0.0) -> Float[Array, ""]:
    """Mean excess risk of the student that is fitted on n labels of its teacher, exact at every n > k + 1.

        E R = R(student) + v k/(n - k - 1),    v = sigma^2 + M

    with R(student) = `projected_risk`, M = `projection_misfit`, n = `num_samples`, sigma^2 = `noise_var`, k strong
    features.

    Args:
        problem: a `LinearClass`.
        num_samples: n >= 1, labelled inputs, `[]`.
        noise_var: sigma^2 >= 0 of the teacher's labels, squared label units, `[]`.

    Returns:
        Squared label units, `[]`; `inf` for k <= n <= k + 1 and NaN under k, where the fit is not determined.

    Raises:
        ValueError: if a Python `num_samples` is below 1 or `noise_var` negative, or if there are more strong features
            than inputs.

    Assumes: gaussian inputs.

    Reference: derived from the mean of an inverse Wishart matrix; the paper states a rate.

    >>> problem = LinearClass(jnp.array([[1.0, 0.0]]), jnp.array([1.0, 2.0]), jnp.array([2.0, 0.0]), jnp.eye(2))
    >>> float(projection_sample_risk(problem, 6, 1.0))  # 1 + (1 + 4)/4
    2.25
    """
    return projected_risk(problem) + _sampling_error(problem, num_samples, noise_var)


def projection_sample_variance(problem: LinearClass, num_samples: Scalar, noise_var: Scalar = 0.0) -> Float[Array, ""]:
    """Variance of the excess risk of the student over samples of n labels, exact at every n > k + 3.

        4 (R(student) - a) v/(n-k-1) + v^2 [k (k+2)/((n-k-1)(n-k-3)) - k^2/(n-k-1)^2],    v = sigma^2 + M

    with R(student) = `projected_risk`, a = `projection_floor`, M = `projection_misfit`, n = `num_samples`, sigma^2 =
    `noise_var`, k strong features. The error of the fit is multivariate t with n - k + 1 degrees of freedom.

    Args:
        problem: a `LinearClass`.
        num_samples: n >= 1, labelled inputs, `[]`.
        noise_var: sigma^2 >= 0 of the teacher's labels, squared label units, `[]`.

    Returns:
        Label units to the fourth, `[]`; `inf` for k <= n <= k + 3 and NaN under k.

    Raises:
        ValueError: as `projection_sample_risk`.

    Assumes: gaussian inputs.

    Reference: derived.

    >>> problem = LinearClass(jnp.array([[1.0, 0.0]]), jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]), jnp.eye(2))
    >>> round(float(projection_sample_variance(problem, 6)), 4)  # 16 (3/8 - 1/16)
    5.0
    """
    _check_sample(num_samples, noise_var)
    k, n = problem.strong_map.shape[0], 1.0 * num_samples
    v = noise_var + projection_misfit(problem)
    exists = n > k + 3
    room = jnp.where(exists, n - k - 1, 4.0)
    bias = projected_risk(problem) - projection_floor(problem)
    variance = 4 * bias * v / room + v**2 * (k * (k + 2) / (room * (room - 2)) - k**2 / room**2)
    return _where_fitted(n, k, exists, variance)


def projection_sample_misfit(problem: LinearClass, num_samples: Scalar, noise_var: Scalar = 0.0) -> Float[Array, ""]:
    """Mean misfit of the student that is fitted on n labels, on fresh inputs: it overstates the gain.

        E |b_w - b_hat|^2 = M + V,    V = (sigma^2 + M) k/(n - k - 1),    mean gain = E |b_w - b_hat|^2 - 2 o - 2 V

    with M = `projection_misfit`, o = `projection_overlap`, n = `num_samples`, sigma^2 = `noise_var`, k strong features.

    Args:
        problem: a `LinearClass`; `target_coef` plays no part.
        num_samples: n >= 1, labelled inputs, `[]`.
        noise_var: sigma^2 >= 0 of the teacher's labels, squared label units, `[]`.

    Returns:
        Squared label units, `[]`; `inf` for k <= n <= k + 1 and NaN under k.

    Raises:
        ValueError: as `projection_sample_risk`.

    Assumes: gaussian inputs.

    Reference: derived; the paper states a rate.

    >>> problem = LinearClass(jnp.array([[1.0, 0.0]]), jnp.array([1.0, 2.0]), jnp.array([2.0, 0.0]), jnp.eye(2))
    >>> float(projection_sample_misfit(problem, 6, 1.0))  # 4 + (1 + 4)/4
    5.25
    """
    return projection_misfit(problem) + _sampling_error(problem, num_samples, noise_var)


def projection_training_misfit(problem: LinearClass, num_samples: Scalar, noise_var: Scalar = 0.0) -> Float[Array, ""]:
    """Mean squared residual of the student on the n labels that it was fitted to: it understates the misfit.

        E |y - fit|^2/n = (sigma^2 + M)(n - k)/n

    with M = `projection_misfit`, n = `num_samples`, sigma^2 = `noise_var`, k strong features.

    Args:
        problem: a `LinearClass`; `target_coef` plays no part.
        num_samples: n >= 1, labelled inputs, `[]`.
        noise_var: sigma^2 >= 0 of the teacher's labels, squared label units, `[]`.

    Returns:
        Squared label units, `[]`; 0 for n <= k, where the fit interpolates.

    Raises:
        ValueError: as `projection_sample_risk`.

    Assumes: gaussian inputs.

    Reference: derived.

    >>> problem = LinearClass(jnp.array([[1.0, 0.0]]), jnp.array([1.0, 2.0]), jnp.array([2.0, 0.0]), jnp.eye(2))
    >>> round(float(projection_training_misfit(problem, 5, 1.0)), 4)
    4.0
    """
    _check_sample(num_samples, noise_var)
    k, n = problem.strong_map.shape[0], 1.0 * num_samples
    return (noise_var + projection_misfit(problem)) * jnp.maximum(n - k, 0.0) / n


def projection_breakeven(problem: LinearClass, noise_var: Scalar = 0.0) -> Float[Array, ""]:
    """How many labels the student needs before it is as good as its teacher in the mean.

        n = k + 1 + k (sigma^2 + M)/(M - 2 o)

    with M = `projection_misfit`, o = `projection_overlap`, sigma^2 = `noise_var`, k strong features: 2k + 1 for a
    noise-free teacher of a target in the class.

    Args:
        problem: a `LinearClass`.
        noise_var: sigma^2 >= 0 of the teacher's labels, squared label units, `[]`.

    Returns:
        Labels (a real number), `[]`; `inf` where M <= 2 o, as no number of labels is enough.

    Raises:
        ValueError: if a Python `noise_var` is negative, or if there are more strong features than inputs.

    Assumes: gaussian inputs.

    Reference: derived.

    >>> problem = LinearClass(jnp.array([[1.0, 0.0]]), jnp.array([1.0, 2.0]), jnp.array([2.0, 0.0]), jnp.eye(2))
    >>> float(projection_breakeven(problem))
    3.0
    """
    _check_sample(1, noise_var)
    k, unexplained = problem.strong_map.shape[0], projection_misfit(problem)
    gain = unexplained - 2 * projection_overlap(problem)
    gains = gain > 0
    return jnp.where(gains, k + 1 + k * (noise_var + unexplained) / jnp.where(gains, gain, 1.0), jnp.inf)


def _sampling_error(problem: LinearClass, num_samples: Scalar, noise_var: Scalar) -> Float[Array, ""]:
    """V, the mean of |b_hat - b_s|^2."""
    _check_sample(num_samples, noise_var)
    k, n = problem.strong_map.shape[0], 1.0 * num_samples
    room = n - k - 1
    error = (noise_var + projection_misfit(problem)) * k / jnp.where(room > 0, room, 1.0)
    return _where_fitted(n, k, room > 0, error)


def _where_fitted(n, k: int, exists, value) -> Float[Array, ""]:
    return jnp.where(exists, value, jnp.where(n < k, jnp.nan, jnp.inf))


def _strong_weights(problem: LinearClass, coef: Float[Array, "d"]) -> Float[Array, "k"]:
    """Weights of the strong features in the projection of b . x."""
    k, d = problem.strong_map.shape
    if k > d:
        raise ValueError(f"strong_map must not have more rows than columns, got {k} x {d}; drop dependent features.")
    seen = problem.strong_map @ problem.input_cov
    return jnp.linalg.solve(seen @ problem.strong_map.T, seen @ coef)


def _square(problem: LinearClass, coef: Float[Array, "d"]) -> Float[Array, ""]:
    return coef @ problem.input_cov @ coef


def _check_sample(num_samples: Scalar, noise_var: Scalar) -> None:
    if is_concrete(num_samples) and not num_samples >= 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}; give the number of labelled inputs.")
    if is_concrete(noise_var) and not noise_var >= 0:
        raise ValueError(f"noise_var must not be negative, got {noise_var}; 0 is a teacher without noise.")
