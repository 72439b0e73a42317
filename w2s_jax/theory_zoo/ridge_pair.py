r"""A ridge teacher and a ridge student of the same features: a student can make up for a penalty that was too small.

MODEL. Features x ~ N(0, I_d), labels y = beta* . x + sigma eps, B^2 = ||beta*||^2. The teacher minimises
(1/n_t) sum of squares + eta_t ||b||^2 on n_t labels, the student the same with eta_s on n_s fresh points that carry the
teacher's predictions. gamma = d/n for each of them. Risk is the squared distance of the coefficients from beta*.

EQUATIONS (derived). The distribution of a gram matrix S does not change under rotations, so given the teacher's b_t
only two means over the student's S enter, k = E (1/d) tr S (S + eta)^-1 and m = E (1/d) tr S^2 (S + eta)^-2:

    E <b_s, beta*> = k_s <b_t, beta*>,    E ||b_s||^2 = m_s ||b_t||^2
    c = E <b_t, beta*> = B^2 k_t,         a = E ||b_t||^2 = B^2 m_t + sigma^2 gamma_t (k_t - m_t) / eta_t
    E R_t = B^2 - 2 c + a,                E R_s = B^2 - 2 k_s c + m_s a.

That much is exact. For n and d large together the Marchenko-Pastur law gives

    k = 2 / (1 + gamma + eta + r),    r = sqrt((1 + gamma + eta)^2 - 4 gamma),    m = k (1 - eta/r),
    (k - m) / eta = k / r.

The student's gain is a (1 - m_s) - 2 c (1 - k_s). Since 1 - 2 k_s + m_s >= 0 it needs c < a, and for gamma_s < 1 a
small enough eta_s then suffices. c < a says that shrinking the teacher would help. Since
a - c = (k_t - m_t) (sigma^2 gamma_t / eta_t - B^2), it holds exactly below the teacher's best penalty
sigma^2 gamma_t / B^2: some student with gamma_s < 1 beats its teacher if and only if the teacher is under-regularised,
and none beats the best teacher. The best student penalty is the root of

    (1 - k)(1 - gamma k) = (1 - rho)(1 - gamma k^2)^2,    rho = c/a,    eta_s = (1 - k)(1 - gamma k) / k,

which is the only one in 0 < k < min(1, 1/gamma); k = rho for gamma_s -> 0, eta_s = 0 where there is none.

Moniri and Hassani (arXiv 2505.18346) state the model and that a student can compensate for its teacher's
under-regularisation.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.types import Scalar, is_concrete

HALVINGS = 60
"""Halvings of an interval of k; one Newton step removes the remaining error and carries the derivative."""


def ridge_pair_teacher_risk(signal: Scalar, noise_var: Scalar, ratio: Scalar, penalty: Scalar) -> Float[Array, ""]:
    """Mean excess risk of the ridge teacher on true labels.

        E R_t = B^2 - 2 c + a,    c = B^2 k,    a = B^2 m + sigma^2 gamma k / r

    with k, m, r at gamma = `ratio` and eta = `penalty` (module docstring).

    Args:
        signal: B^2 = ||beta*||^2 > 0, squared label units, shape `[]`.
        noise_var: sigma^2 >= 0, squared label units, shape `[]`.
        ratio: gamma_t = d/n_t > 0; traced, shape `[]`.
        penalty: eta_t >= 0 of (1/n) sum of squares + eta ||b||^2; traced, shape `[]`.

    Returns:
        Squared label units, shape `[]`; `inf` at penalty 0 and ratio 1 with noise.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: standard gaussian features; n and d large together, off by O(1/d).

    Reference: derived, asymptotic; Moniri and Hassani (arXiv 2505.18346) for the model.

    >>> [round(float(ridge_pair_teacher_risk(1.0, 1.0, 0.5, eta)), 4) for eta in (0.0, 0.5, 2.0)]
    [1.0, 0.4142, 0.5617]
    """
    _check(signal=signal, noise_var=noise_var, ratio=ratio, penalty=penalty)
    inner, square = _teacher_moments(signal, noise_var, ratio, penalty)
    return signal - 2 * inner + square


def ridge_pair_student_risk(
    signal: Scalar,
    noise_var: Scalar,
    teacher_ratio: Scalar,
    teacher_penalty: Scalar,
    student_ratio: Scalar,
    student_penalty: Scalar,
) -> Float[Array, ""]:
    """Mean excess risk of the ridge student on the predictions of the ridge teacher.

        E R_s = B^2 - 2 k_s c + m_s a

    with c and a of `ridge_pair_teacher_risk`, k_s and m_s at gamma_s and eta_s. At eta_s = 0 and gamma_s < 1 the
    student is its teacher.

    Args:
        signal: B^2 = ||beta*||^2 > 0, squared label units, shape `[]`.
        noise_var: sigma^2 >= 0, squared label units, shape `[]`.
        teacher_ratio: gamma_t = d/n_t > 0; traced, shape `[]`.
        teacher_penalty: eta_t >= 0; traced, shape `[]`.
        student_ratio: gamma_s = d/n_s >= 0, 0 for infinitely many points; traced, shape `[]`.
        student_penalty: eta_s >= 0; traced, shape `[]`.

    Returns:
        Squared label units, shape `[]`; `inf` for a teacher without penalty at ratio 1 with noise.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: standard gaussian features, independent samples; n and d large together, off by O(1/d).

    Reference: derived, asymptotic; Moniri and Hassani (arXiv 2505.18346) for the model.

    >>> [round(float(ridge_pair_student_risk(1.0, 1.0, 0.5, 0.0, 0.1, eta)), 4) for eta in (0.0, 0.5, 1.0)]
    [1.0, 0.5567, 0.5131]
    """
    _check(signal=signal, noise_var=noise_var, teacher_ratio=teacher_ratio, teacher_penalty=teacher_penalty)
    _check(student_ratio=student_ratio, student_penalty=student_penalty)
    inner, square = _teacher_moments(signal, noise_var, teacher_ratio, teacher_penalty)
    k, m, _ = ridge_traces(student_ratio, student_penalty)
    return signal - 2 * k * inner + m * square


def ridge_pair_best_teacher_penalty(signal: Scalar, noise_var: Scalar, ratio: Scalar) -> Float[Array, ""]:
    """The teacher's best penalty, below which it is under-regularised and can be beaten by its student.

        eta_t = sigma^2 gamma_t / B^2

    Args:
        signal: B^2 = ||beta*||^2 > 0, squared label units, shape `[]`.
        noise_var: sigma^2 >= 0, squared label units, shape `[]`.
        ratio: gamma_t = d/n_t > 0; traced, shape `[]`.

    Returns:
        Unitless (of the feature variance 1), shape `[]`.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: standard gaussian features; exact at every n and d as well.

    Reference: derived: there ridge is the posterior mean of coefficients spread evenly in direction.

    >>> float(ridge_pair_best_teacher_penalty(2.0, 1.0, 0.5))
    0.25
    """
    _check(signal=signal, noise_var=noise_var, ratio=ratio)
    return jnp.asarray(noise_var * ratio / signal)


def ridge_pair_best_student_penalty(
    signal: Scalar, noise_var: Scalar, teacher_ratio: Scalar, teacher_penalty: Scalar, student_ratio: Scalar
) -> Float[Array, ""]:
    """The student's best penalty: positive where its teacher is under-regularised, by how much it should shrink.

        eta_s = (1 - k)(1 - gamma_s k) / k,    (1 - k)(1 - gamma_s k) = (1 - c/a)(1 - gamma_s k^2)^2

    with c and a of `ridge_pair_teacher_risk` and k in (0, min(1, 1/gamma_s)), where the root is unique. With infinitely
    many points eta_s = a/c - 1, and the risk is B^2 - c^2/a.

    Args:
        signal: B^2 = ||beta*||^2 > 0, squared label units, shape `[]`.
        noise_var: sigma^2 >= 0, squared label units, shape `[]`.
        teacher_ratio: gamma_t = d/n_t > 0; traced, shape `[]`.
        teacher_penalty: eta_t >= 0; traced, shape `[]`.
        student_ratio: gamma_s = d/n_s >= 0; traced, shape `[]`.

    Returns:
        Unitless (of the feature variance 1), shape `[]`; 0 for a teacher that is not under-regularised, and at
        gamma_s = 1 also where c/a >= 3/4; `inf` where a is.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: standard gaussian features, independent samples; n and d large together.

    Reference: derived, asymptotic; Moniri and Hassani (arXiv 2505.18346) for the claim that it may be positive.

    >>> round(float(ridge_pair_best_student_penalty(1.0, 1.0, 0.5, 0.0, 0.0)), 4)  # a = 2, c = 1
    1.0
    """
    _check(signal=signal, noise_var=noise_var, teacher_ratio=teacher_ratio, teacher_penalty=teacher_penalty)
    _check(student_ratio=student_ratio)
    inner, square = _teacher_moments(signal, noise_var, teacher_ratio, teacher_penalty)
    excess, gamma = jnp.asarray(1 - inner / square), jnp.asarray(1.0 * student_ratio)

    def equation(k, excess, gamma):
        return (1 - k) * (1 - gamma * k) - excess * (1 - gamma * k**2) ** 2

    largest = 1 / jnp.maximum(gamma, 1.0)
    fixed = jax.lax.stop_gradient((excess, gamma))

    def halve(_, ends):
        middle = jnp.mean(ends)
        before = equation(middle, *fixed) > 0  # it is positive below the root
        return jnp.where(before, jnp.stack([middle, ends[1]]), jnp.stack([ends[0], middle]))

    ends = jnp.stack([jnp.zeros_like(largest), jax.lax.stop_gradient(largest)])
    k = jnp.mean(jax.lax.fori_loop(0, HALVINGS, halve, ends))
    slope = jax.grad(equation)(k, *fixed)
    inside = (fixed[0] > 0) & (fixed[0] < 1) & (slope < 0)
    k = jnp.where(inside, k - equation(k, excess, gamma) / jnp.where(inside, slope, 1.0), k)
    k = jnp.clip(k, 0, largest)
    shrunk = jnp.where(k > 0, (1 - k) * (1 - gamma * k) / jnp.where(k > 0, k, 1.0), jnp.inf)
    shrunk = jnp.where(excess < 1, shrunk, jnp.inf)
    return jnp.where(excess > 0, shrunk, 0.0)


def ridge_stage(moments, noise_var, ratio, penalty):
    """Mean <b, beta*> and ||b||^2 of a ridge fit to noisy labels of coefficients whose own means are `moments`."""
    inner, square = moments
    k, m, slope = ridge_traces(ratio, penalty)
    finite = jnp.isfinite(slope)
    noise = jnp.where(finite, noise_var * ratio * jnp.where(finite, slope, 1.0), jnp.where(noise_var > 0, jnp.inf, 0.0))
    return k * inner, m * square + noise


def _teacher_moments(signal, noise_var, ratio, penalty):
    """c = E <b_t, beta*> and a = E ||b_t||^2: true labels are those of beta* itself."""
    return ridge_stage((signal, signal), noise_var, ratio, penalty)


def ridge_traces(ratio, penalty):
    """Limits of (1/d) tr of S (S + eta)^-1, S^2 (S + eta)^-2 and S (S + eta)^-2."""
    # The square of r is written as a sum of squares: as a difference it would lose its digits near gamma = 1.
    square = (1 - ratio + penalty) ** 2 + 4.0 * ratio * penalty
    r = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    k = 2 / (1 + ratio + penalty + jnp.where(square > 0, r, 0.0))
    return k, jnp.where(square > 0, k * (1 - penalty / r), k), jnp.where(square > 0, k / r, jnp.inf)


def _check(**values) -> None:
    """Refuse Python numbers out of range; student_ratio may be 0, for infinitely many points."""
    for name, value in values.items():
        strict = name in ("signal", "ratio", "teacher_ratio")
        if is_concrete(value) and not (value > 0 if strict else value >= 0):
            raise ValueError(
                f"{name} must {'be positive' if strict else 'not be negative'}, got {value}; see its range."
            )
