r"""Random-feature ridge that learns from random-feature ridge: the risks of teacher and student, for any spectrum.

MODEL (Wu, Chen, Misiakiewicz and Mondelli, arXiv 2603.05691, for the setting and the claim). Inputs are independent
standard gaussian eigenfeatures z_k with eigenvalues lambda_k. The target is sum_k b_k z_k, and its labels have noise of
variance sigma^2. A learner draws p random features f_j = w_j . (lambda_k^(1/2) z_k) / p^(1/2), w_j ~ N(0, I), and
minimises (1/n) sum of squares + eta ||a||^2 over functions a . f; with p infinite it is ridge on the eigenfeatures
themselves. The teacher does so with (n_t, p_t, eta_t) on true labels, the student with (n_s, p_s, eta_s), its own
random features and fresh inputs, on the teacher's predictions. Risk is the mean squared distance from the target.
Gaussian random features of gaussian inputs stand for those of a network, with the same eigenvalues.

EQUATIONS (derived from the deterministic equivalents of Bach 2024 and Simon et al. 2023; those of Defilippis, Loureiro
and Misiakiewicz, arXiv 2405.15699, are of the same kind). Penalty, samples and width act as one penalty nu:

    (1 - z/n) (1 - z/p) nu = eta,    s_k = lambda_k / (lambda_k + nu),    z = sum_k s_k

and with m = 1 - s, o = s m, u = p - sum s^2, w = s^2 + o (sum o)/u, v = m^2 + o (sum o)/u, K = sum w, a fit theta of
labels with coefficients b and noise sigma^2 has

    E theta_k = s_k b_k,    Var theta_k = o_k (o . b^2)/u + w_k (v . b^2 + sigma^2)/(n - K)
                            (random features)              (samples)

The distribution does not change if a z_k changes its sign, so the second moments of a student's fit do not mix
directions: given its teacher's function, only the squares of the teacher's coefficients count. With the student's
c_k = o_k (sum o)/u + v_k K/(n - K), and t_k, V_k the teacher's s_k and Var theta_k,

    E R_t = [v . b^2 + sigma^2 K/n] / (1 - K/n)
    E R_s = sum_k b_k^2 [(1 - s_k t_k)^2 + c_k t_k^2] + sum_k (s_k^2 + c_k) V_k

What follows on power laws is in `scaling_laws`.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.types import Scalar, is_concrete

HALVINGS = 80
"""Halvings of a bracket in log nu; one Newton step removes the remaining error and carries the derivative."""
LOWEST = -60.0
"""Where the bracket begins, below its end in log nu: without a penalty and with few directions nu is 0."""


class FeatureRidge(NamedTuple):
    """A learner of random-feature ridge."""

    num_samples: Scalar
    """n > 0, `inf` for the whole population."""
    penalty: Scalar
    """eta >= 0 of (1/n) sum of squares + eta ||a||^2."""
    width: Scalar = math.inf
    """p > 0 random features, `inf` for ridge on the eigenfeatures themselves."""


def feature_ridge_penalty(eigenvalues: Float[Array, "d"], learner: FeatureRidge) -> Float[Array, ""]:
    """The penalty that samples, width and penalty of a learner act as together.

        (1 - z/n) (1 - z/p) nu = eta,    z = sum_k lambda_k / (lambda_k + nu) < min(n, p)

    with n = `num_samples`, p = `width`, eta = `penalty`. The left side rises where z < min(n, p): the root is unique.

    Args:
        eigenvalues: lambda > 0, `[d]`.
        learner: a `FeatureRidge`.

    Returns:
        nu, in units of an eigenvalue, `[]`; about 0 without a penalty for d < min(n, p).

    Raises:
        ValueError: if a Python number of the learner is out of its range.

    Assumes: n, p and the number of directions learned are large; as `feature_ridge_risk`.

    Reference: textbook (Simon et al. 2023).

    >>> nu = feature_ridge_penalty(jnp.ones(4), FeatureRidge(num_samples=4, penalty=0.5))
    >>> round(float(nu), 6)  # (1 - 4/(4 (1 + nu))) nu = 0.5
    1.0
    """
    _check_learner(learner)
    samples, width = (1 / jnp.asarray(size, float) for size in (learner.num_samples, learner.width))
    given = (eigenvalues, samples, width, jnp.asarray(learner.penalty, float))
    held = jax.lax.stop_gradient(given)

    def excess(y, eigenvalues, samples, width, penalty, floor=-jnp.inf):
        z = jnp.sum(eigenvalues / (eigenvalues + jnp.exp(y)))
        return jnp.maximum(1 - z * samples, floor) * jnp.maximum(1 - z * width, floor) * jnp.exp(y) - penalty

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        above = excess(middle, *held, floor=0.0) > 0
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    # Where z is at most half of n and of p, three quarters of nu may be missing.
    top = jnp.log(2 * jnp.sum(held[0]) * jnp.maximum(held[1], held[2]) + 4 * held[3] + jnp.finfo(float).tiny)
    _, root = jax.lax.fori_loop(0, HALVINGS, halve, (top + LOWEST, top))
    slope = jax.grad(excess)(root, *held)
    step = excess(root, *given) / jnp.where(slope > 0, slope, jnp.inf)
    return jnp.exp(root - step)


def feature_ridge_risk(
    eigenvalues: Float[Array, "d"], target_coef: Float[Array, "d"], noise_var: Scalar, learner: FeatureRidge
) -> Float[Array, ""]:
    """Mean excess risk of random-feature ridge on noisy labels: the teacher's.

        E R = [v . b^2 + sigma^2 K/n] / (1 - K/n)

    with v and K of the module docstring, b = `target_coef`, sigma^2 = `noise_var`.

    Args:
        eigenvalues: lambda > 0, `[d]`.
        target_coef: b, label units, `[d]`.
        noise_var: sigma^2 >= 0, squared label units, `[]`.
        learner: a `FeatureRidge`.

    Returns:
        Squared label units, `[]`; `inf` without a penalty at n = p.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: gaussian eigenfeatures and features; a deterministic equivalent, off by O(1/n) and O(1/p): by about 1% at
        n = 60, p = 90.

    Reference: derived from Bach (2024) and Simon et al. (2023); the setting is that of Defilippis, Loureiro and
        Misiakiewicz (arXiv 2405.15699).

    >>> from w2s_jax.theory_zoo import power_law_spectrum
    >>> lam, b = power_law_spectrum(1.5, 0.5, 400)
    >>> sizes = (50, 100, 200)
    >>> [round(float(feature_ridge_risk(lam, b, 0.1, FeatureRidge(n, 1e-2, 2 * n))), 4) for n in sizes]
    [0.0632, 0.0337, 0.0198]
    """
    _check_noise(noise_var)
    stage = _stage(eigenvalues, learner)
    missed = stage.missed @ target_coef**2
    return missed + (missed + noise_var) * stage.inflation


def feature_ridge_student_risk(
    eigenvalues: Float[Array, "d"],
    target_coef: Float[Array, "d"],
    noise_var: Scalar,
    teacher: FeatureRidge,
    student: FeatureRidge,
) -> Float[Array, ""]:
    """Mean excess risk of random-feature ridge on the predictions of another one: the student's.

        E R_s = sum_k b_k^2 [(1 - s_k t_k)^2 + c_k t_k^2] + sum_k (s_k^2 + c_k) V_k

    with s, c of the student and t, V of the teacher as in the module docstring.

    Args:
        eigenvalues: lambda > 0, `[d]`.
        target_coef: b, label units, `[d]`.
        noise_var: sigma^2 >= 0 of the teacher's labels, squared label units, `[]`; the student's have no more.
        teacher: a `FeatureRidge`.
        student: a `FeatureRidge`, whose inputs and random features are independent of the teacher's.

    Returns:
        Squared label units, `[]`; `inf` where teacher or student has no penalty and n = p.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: as `feature_ridge_risk`.

    Reference: derived; Wu et al. (arXiv 2603.05691) for the setting.

    >>> from w2s_jax.theory_zoo import power_law_spectrum
    >>> lam, b = power_law_spectrum(1.5, 0.5, 400)
    >>> teacher = FeatureRidge(num_samples=100, penalty=1e-6, width=400)
    >>> students = [FeatureRidge(num_samples=200, penalty=eta, width=400) for eta in (1e-6, 1e-2, 1e-1)]
    >>> [round(float(feature_ridge_student_risk(lam, b, 0.5, teacher, student)), 4) for student in students]
    [0.6346, 0.1721, 0.1171]
    """
    _check_noise(noise_var)
    first, second = _stage(eigenvalues, teacher), _stage(eigenvalues, student)
    squares, t, s = target_coef**2, first.shares, second.shares
    variance = first.scatter * (first.scatter @ squares) * first.crowding + first.kept * (
        first.missed @ squares + noise_var
    ) * first.inflation / jnp.sum(first.kept)
    spread = second.scatter * jnp.sum(second.scatter) * second.crowding + second.missed * second.inflation
    lost = (1 - t) + t * (1 - s)
    return jnp.sum(squares * (lost**2 + spread * t**2)) + jnp.sum((s**2 + spread) * variance)


class _Stage(NamedTuple):
    """What one fit does to the labels of each direction, as in the module docstring."""

    shares: Float[Array, "d"]
    """s"""
    scatter: Float[Array, "d"]
    """o"""
    crowding: Float[Array, ""]
    """1/u"""
    kept: Float[Array, "d"]
    """w"""
    missed: Float[Array, "d"]
    """v"""
    inflation: Float[Array, ""]
    """K/(n - K)"""


def _stage(eigenvalues: Float[Array, "d"], learner: FeatureRidge) -> _Stage:
    nu = feature_ridge_penalty(eigenvalues, learner)
    s, m = eigenvalues / (eigenvalues + nu), nu / (eigenvalues + nu)
    samples, width = (1 / jnp.asarray(size, float) for size in (learner.num_samples, learner.width))
    crowding = width / (1 - width * jnp.sum(s**2))
    both = s * m * jnp.sum(s * m) * crowding
    kept, missed = s**2 + both, m**2 + both
    share = samples * jnp.sum(kept)
    inflation = jnp.where(share < 1, share / jnp.where(share < 1, 1 - share, 1.0), jnp.inf)
    return _Stage(s, s * m, crowding, kept, missed, inflation)


def _check_learner(learner: FeatureRidge) -> None:
    for name, value in learner._asdict().items():
        held = not is_concrete(value) or (value >= 0 if name == "penalty" else value > 0)
        if not held:
            rule = "not be negative" if name == "penalty" else "be positive"
            raise ValueError(f"{name} of a FeatureRidge must {rule}, got {value}; see its range.")


def _check_noise(noise_var: Scalar) -> None:
    if is_concrete(noise_var) and not noise_var >= 0:
        raise ValueError(f"noise_var must not be negative, got {noise_var}; 0 is clean labels.")
