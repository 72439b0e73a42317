r"""Surrogate to target: a ridgeless student trained on the labels of another coefficient vector than the true one.

MODEL. Features x ~ N(0, diag(lambda)) in p dimensions, labels y = beta_s . x + sigma eps of a surrogate beta_s. The
student is least squares on n of them for n > p + 1, and the interpolator of minimum norm for n < p. Its risk is judged
against another vector beta*: R = sum_i lambda_i (b_i - beta*_i)^2.

EQUATIONS (derived). For n > p + 1, exactly, by the mean of an inverse Wishart matrix,

    E R = sum_i lambda_i (beta_s,i - beta*_i)^2 + sigma^2 p / (n - p - 1).

For n < p, in the limit of n and p large together (the deterministic equivalents of ridgeless regression), with tau the
root of sum_i lambda_i / (lambda_i + tau) = n and the share s_i = lambda_i / (lambda_i + tau) of a direction learned,

    E b_i = s_i beta_s,i,    Cov b = (gamma^2/n) diag(s_i^2 / lambda_i),    Omega = (1/n) sum_i s_i^2,
    gamma^2 = (sigma^2 + sum_i lambda_i (1 - s_i)^2 beta_s,i^2) / (1 - Omega),

so that the risk is a quadratic in beta_s without cross terms, with kappa = Omega / (1 - Omega):

    R = sum_i lambda_i [(s_i beta_s,i - beta*_i)^2 + kappa (1 - s_i)^2 beta_s,i^2] + kappa sigma^2.

Minimised: beta_s,i = beta*_i s_i / (s_i^2 + kappa (1 - s_i)^2), which amplifies the directions with s_i > Omega and
shrinks the others. Among masks of the truth the best keeps s_i > 1 - sqrt(1 - Omega). Both beat true labels unless no
direction asks for it; for equal lambda_i all s_i = Omega = n/p and true labels are already the best.

Ildiz et al. (arXiv 2410.18837) state the model, that the best surrogate amplifies and shrinks by such a threshold, that
a weak model which masks weak features can be a better teacher than the truth, and that the scaling law stays the same.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from w2s_jax.types import Scalar, is_concrete

HALVINGS = 60
"""Halvings of a bracket in log tau; one Newton step removes the remaining error and carries the derivative."""


class SurrogateShares(NamedTuple):
    """How much of each direction the interpolator of minimum norm learns."""

    shares: Float[Array, "p"]
    """s_i in (0, 1), of sum n; 1 where n >= p."""
    overlap: Float[Array, ""]
    """Omega = (1/n) sum_i s_i^2 in (0, 1); p/n where n >= p."""


def surrogate_shares(feature_var: Float[Array, "p"], num_samples: Scalar) -> SurrogateShares:
    """SurrogateShares of the directions that n examples let the minimum-norm interpolator learn.

        s_i = lambda_i / (lambda_i + tau),    sum_i s_i = n,    Omega = (1/n) sum_i s_i^2

    Args:
        feature_var: lambda > 0, `[p]`, squared feature units.
        num_samples: n > 0; traced, shape `[]`. For n >= p, tau = 0.

    Returns:
        `SurrogateShares`, unitless.

    Raises:
        ValueError: if a Python n is not positive.

    Assumes: n and p large together.

    Reference: derived; Ildiz et al. (arXiv 2410.18837) for the model.

    >>> shares, overlap = surrogate_shares(jnp.array([2.0, 2.0, 2.0, 2.0]), 1)
    >>> [round(float(x), 4) for x in (shares[0], overlap)]
    [0.25, 0.25]
    """
    _check(num_samples=num_samples)
    dim = feature_var.shape[0]
    under = num_samples < dim
    n = jnp.where(under, num_samples, dim / 2)  # a root must exist, on either side of the last line
    fixed = jax.lax.stop_gradient(feature_var)
    ends = jnp.log(jnp.stack([jnp.min(fixed), jnp.max(fixed)])) + jnp.log(jax.lax.stop_gradient(dim - n) / n)

    def halve(_, ends):
        middle = jnp.mean(ends)
        too_small = jnp.sum(fixed / (fixed + jnp.exp(middle))) > jax.lax.stop_gradient(n)
        return jnp.where(too_small, jnp.stack([middle, ends[1]]), jnp.stack([ends[0], middle]))

    tau = jnp.exp(jnp.mean(jax.lax.fori_loop(0, HALVINGS, halve, jax.lax.stop_gradient(ends))))
    excess = jnp.sum(feature_var / (feature_var + tau)) - n
    tau = tau + excess / jax.lax.stop_gradient(jnp.sum(feature_var / (feature_var + tau) ** 2))
    shares = jnp.where(under, feature_var / (feature_var + tau), 1.0)
    return SurrogateShares(shares, jnp.sum(shares**2) / num_samples)


def surrogate_risk(
    feature_var: Float[Array, "p"],
    surrogate: Float[Array, "p"],
    target: Float[Array, "p"],
    num_samples: Scalar,
    noise_var: Scalar,
) -> Float[Array, ""]:
    """Mean excess risk of a ridgeless student trained on a surrogate's labels, judged against the truth.

        n > p + 1:  E R = sum_i lambda_i (beta_s,i - beta*_i)^2 + sigma^2 p / (n - p - 1)
        n < p:      R = sum_i lambda_i [(s_i beta_s,i - beta*_i)^2 + kappa (1 - s_i)^2 beta_s,i^2] + kappa sigma^2

    with s_i and Omega of `surrogate_shares`, kappa = Omega / (1 - Omega).

    Args:
        feature_var: lambda > 0, `[p]`, squared feature units.
        surrogate: beta_s, `[p]`, label units per feature unit.
        target: beta*, `[p]`, the same.
        num_samples: n > 0; traced, shape `[]`.
        noise_var: sigma^2 >= 0 of the surrogate's labels, squared label units, shape `[]`.

    Returns:
        Squared label units, shape `[]`; `inf` for p <= n <= p + 1 (unless the labels are free of noise).

    Raises:
        ValueError: if a Python n is not positive, or a Python noise_var is negative.

    Assumes: gaussian features; n < p is a limit, off by O(1/n), and by O(1) for n of a few.

    Reference: derived; exact for n > p + 1, asymptotic for n < p; Ildiz et al. (arXiv 2410.18837) for the model.

    >>> lam, target = jnp.array([4.0, 1.0, 1.0]), jnp.array([1.0, 0.0, 1.0])
    >>> round(float(surrogate_risk(lam, target.at[2].set(0.0), target, 10, 1.0)), 4)  # 1 + 3/6
    1.5
    """
    _check(num_samples=num_samples, noise_var=noise_var)
    _, weight, noise = _factors(feature_var, num_samples)
    return _quadratic(feature_var, weight, surrogate, target, num_samples) + _times(noise_var, noise)


def best_surrogate(feature_var: Float[Array, "p"], target: Float[Array, "p"], num_samples: Scalar) -> Float[Array, "p"]:
    """The surrogate from whose labels the student learns the truth best.

        beta_s,i = beta*_i s_i / (s_i^2 + kappa (1 - s_i)^2),    kappa = Omega / (1 - Omega)

    with s_i and Omega of `surrogate_shares`. Its risk is sum_i lambda_i beta*_i^2 kappa (1 - s_i)^2 / (s_i^2 +
    kappa (1 - s_i)^2) + kappa sigma^2. It is the truth itself for n >= p, and for equal lambda_i at any n.

    Args:
        feature_var: lambda > 0, `[p]`, squared feature units.
        target: beta*, `[p]`, label units per feature unit.
        num_samples: n > 0; traced, shape `[]`.

    Returns:
        Label units per feature unit, `[p]`.

    Raises:
        ValueError: if a Python n is not positive.

    Assumes: as `surrogate_risk`; the noise does not matter.

    Reference: derived, asymptotic for n < p; Ildiz et al. (arXiv 2410.18837) for the claim.

    >>> best = best_surrogate(jnp.array([9.0, 1.0, 1.0, 1.0]), jnp.ones(4), 2)
    >>> [round(float(x), 3) for x in best[:2]]  # amplified and shrunk
    [1.129, 0.57]
    """
    _check(num_samples=num_samples)
    shares, weight, _ = _factors(feature_var, num_samples)
    return target * shares / weight


def best_surrogate_mask(feature_var: Float[Array, "p"], num_samples: Scalar) -> Bool[Array, "p"]:
    """Which directions of the truth the best surrogate shows, if it may only show or hide them.

        keep i  if and only if  (1 - s_i)^2 < 1 - Omega

    with s_i and Omega of `surrogate_shares`: for any truth and noise.

    Args:
        feature_var: lambda > 0, `[p]`, squared feature units.
        num_samples: n > 0; traced, shape `[]`.

    Returns:
        `[p]`, True where kept; all of them for n >= p, and for equal lambda_i at any n.

    Raises:
        ValueError: if a Python n is not positive.

    Assumes: as `surrogate_risk`.

    Reference: derived, asymptotic for n < p; Ildiz et al. (arXiv 2410.18837) for the claim.

    >>> best_surrogate_mask(jnp.array([20.0, 20.0, 0.1, 0.1]), 2).tolist()
    [True, True, False, False]
    """
    _check(num_samples=num_samples)
    shares, overlap = surrogate_shares(feature_var, num_samples)
    return (num_samples >= shares.shape[0]) | ((1 - shares) ** 2 < 1 - overlap)


def masked_teacher_risk(
    feature_var: Float[Array, "p"],
    target: Float[Array, "p"],
    mask: Bool[Array, "p"],
    num_labels: Scalar,
    label_noise_var: Scalar,
) -> Float[Array, ""]:
    """Mean excess risk of the weak teacher: least squares on true labels in the coordinates that it sees.

        E R_w = h + (sigma_w^2 + h) q / (m - q - 1),    h = sum_hidden lambda_i beta*_i^2,    q = number seen

    Args:
        feature_var: lambda > 0, `[p]`, squared feature units.
        target: beta*, `[p]`, label units per feature unit.
        mask: which coordinates it sees, `[p]`.
        num_labels: m > q + 1 true labels; traced, shape `[]`.
        label_noise_var: sigma_w^2 >= 0 of the true labels, squared label units, shape `[]`.

    Returns:
        Squared label units, shape `[]`; `inf` for m <= q + 1.

    Raises:
        ValueError: if a Python m is not positive, or a Python label_noise_var is negative.

    Assumes: gaussian features.

    Reference: derived, exact; Ildiz et al. (arXiv 2410.18837) for the model.

    >>> round(float(masked_teacher_risk(jnp.ones(3), jnp.ones(3), jnp.array([True, True, False]), 13, 1.0)), 4)
    1.4
    """
    _check(num_labels=num_labels, label_noise_var=label_noise_var)
    hidden, variance = _teacher(feature_var, target, mask, num_labels, label_noise_var)
    return hidden + _times(variance, jnp.sum(mask))


def masked_student_risk(
    feature_var: Float[Array, "p"],
    target: Float[Array, "p"],
    mask: Bool[Array, "p"],
    num_labels: Scalar,
    num_pseudo_labels: Scalar,
    label_noise_var: Scalar,
) -> Float[Array, ""]:
    """Mean excess risk of a ridgeless student of all p features, taught by a weak teacher that sees some of them.

        R_s = R(mask beta*) + v sum_seen [s_i^2 + kappa (1 - s_i)^2],    v = (sigma_w^2 + h) / (m - q - 1)

    with R = `surrogate_risk` on n noiseless labels, s_i and kappa = Omega / (1 - Omega) of `surrogate_shares`, h and q
    of `masked_teacher_risk`. For n > p + 1 the student is its teacher.

    Args:
        feature_var: lambda > 0, `[p]`, squared feature units.
        target: beta*, `[p]`, label units per feature unit.
        mask: which coordinates the teacher sees, `[p]`.
        num_labels: m > q + 1 true labels of the teacher; traced, shape `[]`.
        num_pseudo_labels: n > 0 fresh points that carry the teacher's predictions; traced, shape `[]`.
        label_noise_var: sigma_w^2 >= 0 of the true labels, squared label units, shape `[]`.

    Returns:
        Squared label units, shape `[]`; `inf` for m <= q + 1.

    Raises:
        ValueError: if a Python count is not positive, or a Python label_noise_var is negative.

    Assumes: as `surrogate_risk`; the two samples are independent.

    Reference: derived; exact in m, asymptotic for n < p; Ildiz et al. (arXiv 2410.18837) for the model.

    >>> round(float(masked_student_risk(jnp.ones(3), jnp.ones(3), jnp.array([True, True, False]), 13, 9, 1.0)), 4)
    1.4
    """
    _check(num_labels=num_labels, num_pseudo_labels=num_pseudo_labels, label_noise_var=label_noise_var)
    _, weight, _ = _factors(feature_var, num_pseudo_labels)
    _, variance = _teacher(feature_var, target, mask, num_labels, label_noise_var)
    mean = jnp.where(mask, target, 0.0)
    passed_on = _times(variance, jnp.sum(jnp.where(mask, weight, 0.0)))
    return _quadratic(feature_var, weight, mean, target, num_pseudo_labels) + passed_on


def _factors(feature_var, num_samples):
    """SurrogateShares, w_i = s_i^2 + kappa (1 - s_i)^2, and the factor of the noise variance."""
    shares, overlap = surrogate_shares(feature_var, num_samples)
    dim = shares.shape[0]
    kappa = jnp.where(num_samples < dim, overlap / jnp.where(num_samples < dim, 1 - overlap, 1.0), 0.0)
    room = num_samples - dim - 1.0
    exact = jnp.where(room > 0, dim / jnp.where(room > 0, room, 1.0), jnp.inf)
    return shares, shares**2 + kappa * (1 - shares) ** 2, jnp.where(num_samples < dim, kappa, exact)


def _quadratic(feature_var, weight, surrogate, target, num_samples) -> Float[Array, ""]:
    shares, _ = surrogate_shares(feature_var, num_samples)
    spread = jnp.maximum(weight - shares**2, 0.0)
    return jnp.sum(feature_var * ((shares * surrogate - target) ** 2 + spread * surrogate**2))


def _teacher(feature_var, target, mask, num_labels, label_noise_var):
    """(what the teacher does not see, v: variance of each of its coefficients in units of 1/lambda_i)."""
    hidden = jnp.sum(jnp.where(mask, 0.0, feature_var * target**2))
    room = num_labels - jnp.sum(mask) - 1.0
    reciprocal = jnp.where(room > 0, 1 / jnp.where(room > 0, room, 1.0), jnp.inf)
    return hidden, _times(label_noise_var + hidden, reciprocal)


def _times(part, factor) -> Float[Array, ""]:
    """part * factor, where nothing times `inf` is nothing."""
    finite = jnp.isfinite(factor)
    return jnp.where(finite, part * jnp.where(finite, factor, 1.0), jnp.where(part > 0, jnp.inf, 0.0))


def _check(**values: Scalar) -> None:
    for name, value in values.items():
        if is_concrete(value) and name.startswith("num_") and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}; give the number of labelled examples.")
        if is_concrete(value) and not value >= 0:
            raise ValueError(f"{name} must not be negative, got {value}; 0 is clean labels.")
