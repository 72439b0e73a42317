"""Weak-to-strong classification by benign overfitting, in the bilevel gaussian ensemble.

MODEL (Wu and Sahai, arXiv 2410.04638, for the model and the claim). Features are sqrt(lambda_j) z_j, z_j ~ N(0, 1): s
favoured ones of variance lambda_F = a d/s and d - s others of variance lambda_U = (1 - a) d/(d - s). The true label is
sign(z_1), z_1 favoured. A learner interpolates n labels of +-1 with the least norm. Prediction on fresh inputs has the
score S z_1 + N g, g ~ N(0, 1): S is the survival, N the contamination. The teacher learns from few clean labels in an
ensemble of weak features, the student from many labels sign(score) of its teacher in an ensemble of strong ones. Both
see z_1.

EQUATIONS (derived here; asymptotic, for n and d large together, by the deterministic equivalent of ridge at penalty 0).

    kappa          s lambda_F/(lambda_F + kappa) + (d - s) lambda_U/(lambda_U + kappa) = n,  n < d: a quadratic
    shrinkage      f_F = lambda_F/(lambda_F + kappa), f_U likewise;    F_2 = s f_F^2 + (d - s) f_U^2
    labels         E[y z_1] = sqrt(2/pi) r, with r the correlation of the label's score with z_1: 1 for clean labels
    survival       S = sqrt(2/pi) r f_F
    contamination  N^2 = V (F_2 - f_F^2)/(n - F_2),    V = 1 - (2/pi) r^2 f_F (2 - f_F)
    error          P(wrong) = arccos(S/sqrt(S^2 + N^2))/pi = 1/2 - arctan(S/N)/pi        (exact given S and N)
    teacher        r_w = S_w/sqrt(S_w^2 + N_w^2): the correlation of the pseudo-labels' score
    student        the same with r = r_w. If the shares o_F and o_U of the teacher's contamination lie on the student's
                   own favoured and unfavoured features, the student learns them as well:
                   N^2 += (2/pi)(1 - r_w^2)(o_F f_F^2 + o_U f_U^2)
                   V = 1 - (2/pi)[r_w^2 f_F (2 - f_F) + (1 - r_w^2)(o_F f_F (2 - f_F) + o_U f_U (2 - f_U))]

    exponents      n_0 the base, n = n_0^u, d = n_0^p, s = n_0^v, a = n_0^-q, with v < u < p, q > 0, q + v < p:
                   lambda_F/kappa = n_0^(u-q-v), so S^2 = r^2 n_0^(2 min(0, u-q-v)) and
                   (S/N)^2 = r^2 n_0^E,    E = min(u - v, p - u + 2 min(0, u - q - v))
    weak to strong error of the teacher -> 1/2 if E_w < 0, -> 0 if E_w > 0; with o_F = o_U = 0 the student's -> 0 if
                   min(0, E_w) + E_s > 0 and -> 1/2 if it is < 0

So a teacher that is hardly better than chance can raise a student without error, if the student has labels enough.
Where the teacher's errors lie on features that the student favours (o_F > 0), the student repeats them.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.types import Scalar, is_concrete


class Bilevel(NamedTuple):
    """A bilevel ensemble and the number of labels that are interpolated in it."""

    num_samples: Scalar
    """n, labels; 1 <= n < d."""
    dim: Scalar
    """d, features."""
    num_favoured: Scalar
    """s, favoured features, 1 <= s < d."""
    favoured_weight: Scalar
    """a in (0, 1): the favoured features' share of the total variance d; s/d makes all features alike."""


class Score(NamedTuple):
    """What a classifier says of a fresh input: survival z_1 + contamination g, up to scale."""

    survival: Float[Array, ""]
    """S: the part along the true feature."""
    contamination: Float[Array, ""]
    """N >= 0: the root of the variance of all the rest."""


class Exponents(NamedTuple):
    """A sequence of bilevel ensembles: n = n_0^u, d = n_0^p, s = n_0^v, a = n_0^-q."""

    samples: Scalar
    """u > v."""
    dim: Scalar
    """p > u."""
    favoured: Scalar
    """v >= 0."""
    weight: Scalar
    """q > 0, q + v < p."""


def bilevel_variances(ensemble: Bilevel) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Variances of a favoured feature and of another one.

        lambda_F = a d/s,    lambda_U = (1 - a) d/(d - s)

    with a = `favoured_weight`, d = `dim`, s = `num_favoured`.

    Args:
        ensemble: a `Bilevel`.

    Returns:
        (lambda_F, lambda_U), each `[]`; their total over the features is d.

    Raises:
        ValueError: if a Python number of the ensemble is out of its range.

    Reference: Wu and Sahai (arXiv 2410.04638) for the ensemble.

    >>> [float(x) for x in bilevel_variances(Bilevel(10, 100, 4, 0.5))]
    [12.5, 0.5208333333333334]
    """
    _check_ensemble(ensemble)
    _, d, s, a = (jnp.asarray(value, float) for value in ensemble)
    return a * d / s, (1 - a) * d / (d - s)


def implicit_penalty(ensemble: Bilevel) -> Float[Array, ""]:
    """The penalty that interpolation amounts to: every feature is shrunk as by ridge.

        kappa > 0 with s lambda_F/(lambda_F + kappa) + (d - s) lambda_U/(lambda_U + kappa) = n
        n kappa^2 + kappa (n (lambda_F + lambda_U) - s lambda_F - (d - s) lambda_U) - (d - n) lambda_F lambda_U = 0

    with n = `num_samples`, d = `dim`, s = `num_favoured`, lambda as in `bilevel_variances`.

    Args:
        ensemble: a `Bilevel`.

    Returns:
        In units of the variances, `[]`.

    Raises:
        ValueError: if a Python number of the ensemble is out of its range.

    Assumes: n and d large together.

    Reference: derived from the deterministic equivalent of ridge.

    >>> float(implicit_penalty(Bilevel(25, 100, 20, 0.2)))  # all alike: d/n - 1
    3.0
    """
    favoured, other = bilevel_variances(ensemble)
    n, d = (jnp.asarray(value, float) for value in ensemble[:2])
    linear = n * (favoured + other) - d  # the total variance is d
    constant = (d - n) * favoured * other
    root = jnp.sqrt(linear**2 + 4 * n * constant)
    # Of the two forms of the root, the one without a difference of like numbers.
    return jnp.where(linear > 0, 2 * constant / (linear + root), (root - linear) / (2 * n))


def interpolator_score(ensemble: Bilevel, label_correlation: Scalar = 1.0) -> Score:
    """Survival and contamination of the least-norm interpolator of n labels.

        S = sqrt(2/pi) r f_F,    N^2 = V (F_2 - f_F^2)/(n - F_2),    V = 1 - (2/pi) r^2 f_F (2 - f_F)

    with r = `label_correlation`, n = `num_samples`, f_F = lambda_F/(lambda_F + kappa), F_2 = s f_F^2 + (d - s) f_U^2,
    kappa = `implicit_penalty`.

    Args:
        ensemble: a `Bilevel`.
        label_correlation: r in [0, 1]: labels are sign(r z_1 + sqrt(1 - r^2) g) with g ~ N(0, 1) independent of the
            features; 1 for clean labels, `[]`.

    Returns:
        A `Score`; both parts are means over samples, in the units of a label.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: n and d large together; at finite size the fluctuation of S, of relative size 1/sqrt(n), is left out.

    Reference: Wu and Sahai (arXiv 2410.04638) for survival and contamination; derived.

    >>> score = interpolator_score(Bilevel(60, 900, 6, 0.3))
    >>> round(float(score.survival), 4), round(float(score.contamination), 4)
    (0.6444, 0.2212)
    """
    _check_shares(label_correlation=label_correlation)
    return student_score(ensemble, label_correlation)


def student_score(
    ensemble: Bilevel, teacher_correlation: Scalar, favoured_overlap: Scalar = 0.0, other_overlap: Scalar = 0.0
) -> Score:
    """Survival and contamination of a student, some of whose features are those that contaminate its teacher.

        S = sqrt(2/pi) r f_F
        N^2 = V (F_2 - f_F^2)/(n - F_2) + (2/pi)(1 - r^2)(o_F f_F^2 + o_U f_U^2)
        V = 1 - (2/pi)[r^2 f_F (2 - f_F) + (1 - r^2)(o_F f_F (2 - f_F) + o_U f_U (2 - f_U))]

    with r = `teacher_correlation`, o_F = `favoured_overlap`, o_U = `other_overlap`, the rest as in
    `interpolator_score`.

    Args:
        ensemble: the student's `Bilevel`.
        teacher_correlation: r in [0, 1] of the teacher's score with z_1, see `score_correlation`, `[]`.
        favoured_overlap: o_F >= 0, share of the variance of the teacher's contamination that lies on favoured features
            of the student, `[]`.
        other_overlap: o_U >= 0, the same for its other features; o_F + o_U <= 1, `[]`.

    Returns:
        A `Score`.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: n and d large together.

    Reference: Wu and Sahai (arXiv 2410.04638) for the two-stage model; derived.

    >>> score = student_score(Bilevel(60, 900, 6, 0.3), 0.5, favoured_overlap=1.0)
    >>> bool(score.contamination > score.survival)  # the teacher's errors are learnt like the truth
    True
    """
    _check_shares(
        teacher_correlation=teacher_correlation, favoured_overlap=favoured_overlap, other_overlap=other_overlap
    )
    favoured, other = bilevel_variances(ensemble)
    kappa = implicit_penalty(ensemble)
    n, d, s = (jnp.asarray(value, float) for value in ensemble[:3])
    lead, rest = favoured / (favoured + kappa), other / (other + kappa)
    total = s * lead**2 + (d - s) * rest**2
    wrong = 1 - jnp.asarray(teacher_correlation, float) ** 2
    learnt = (1 - wrong) * lead * (2 - lead) + wrong * (
        favoured_overlap * lead * (2 - lead) + other_overlap * rest * (2 - rest)
    )
    noise = (1 - 2 / jnp.pi * learnt) * (total - lead**2) / (n - total)
    repeated = 2 / jnp.pi * wrong * (favoured_overlap * lead**2 + other_overlap * rest**2)
    return Score(jnp.sqrt(2 / jnp.pi * (1 - wrong)) * lead, jnp.sqrt(noise + repeated))


def score_correlation(score: Score) -> Float[Array, ""]:
    """Correlation of a score with the true feature: what a student needs to know of its teacher.

        r = S/sqrt(S^2 + N^2)

    with S = `survival`, N = `contamination`.

    Args:
        score: a `Score`, not 0.

    Returns:
        In [0, 1], `[]`.

    Reference: derived.

    >>> round(float(score_correlation(Score(jnp.asarray(3.0), jnp.asarray(4.0)))), 6)
    0.6
    """
    return score.survival / jnp.hypot(score.survival, score.contamination)


def classification_error(score: Score) -> Float[Array, ""]:
    """Probability of a wrong sign on a fresh input.

        1/2 - arctan(S/N)/pi

    with S = `survival`, N = `contamination`; exact for a given classifier, whose score is gaussian.

    Args:
        score: a `Score`, not 0.

    Returns:
        In [0, 1/2], `[]`.

    Reference: Wu and Sahai (arXiv 2410.04638) for the role of S/N; derived.

    >>> float(classification_error(Score(jnp.asarray(2.0), jnp.asarray(2.0))))
    0.25
    """
    return jnp.arctan2(score.contamination, score.survival) / jnp.pi


def success_exponent(exponents: Exponents) -> Float[Array, ""]:
    """The exponent at which the ratio of survival to contamination grows, on clean labels.

        (S/N)^2 = n_0^E,    E = min(u - v, p - u + 2 min(0, u - q - v))

    with u = `samples`, p = `dim`, v = `favoured`, q = `weight`. The error tends to 0 if E > 0 and to 1/2 if E < 0. At
    u = 1: E > 0 if and only if q + v < (p + 1)/2.

    Args:
        exponents: `Exponents` with v < u < p, q > 0 and q + v < p.

    Returns:
        E, `[]`.

    Raises:
        ValueError: if Python exponents are out of their range.

    Assumes: n_0 large; powers alone, no constants.

    Reference: derived; the paper states conditions of this kind.

    >>> round(float(success_exponent(Exponents(samples=1.0, dim=2.0, favoured=0.5, weight=0.8))), 6)
    0.4
    """
    u, p, v, q = exponents
    if all(is_concrete(value) for value in exponents) and not (0 <= v < u < p and 0 < q < p - v):
        raise ValueError(f"0 <= favoured < samples < dim and 0 < weight < dim - favoured must hold, got {exponents}.")
    return jnp.minimum(jnp.asarray(u - v, float), p - u + 2 * jnp.minimum(0.0, jnp.asarray(u - q - v, float)))


def weak_to_strong_exponent(teacher: Exponents, student: Exponents) -> Float[Array, ""]:
    """The same exponent for a student of pseudo-labels, whose teacher's errors lie on features that it does not see.

        (S/N)^2 = n_0^(min(0, E_w) + E_s)

    with E_w and E_s the `success_exponent` of teacher and student on clean labels. With E_w < 0 < E_w + E_s the teacher
    tends to chance and its student to no error.

    Args:
        teacher: `Exponents` over one base n_0.
        student: likewise.

    Returns:
        The exponent, `[]`.

    Raises:
        ValueError: if Python exponents are out of their range.

    Assumes: n_0 large; no overlap of the teacher's contamination with the student's features.

    Reference: derived; Wu and Sahai (arXiv 2410.04638) for the claim.

    >>> teacher = Exponents(samples=1.0, dim=2.0, favoured=0.5, weight=1.2)
    >>> student = Exponents(samples=1.5, dim=2.5, favoured=0.5, weight=0.8)
    >>> round(float(weak_to_strong_exponent(teacher, student)), 6)
    0.6
    """
    return jnp.minimum(0.0, success_exponent(teacher)) + success_exponent(student)


def _check_shares(**shares: Scalar) -> None:
    for name, value in shares.items():
        if is_concrete(value) and not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}; it is a correlation or a share.")


def _check_ensemble(ensemble: Bilevel) -> None:
    n, d, s, a = ensemble
    if all(is_concrete(value) for value in (n, d)) and not 1 <= n < d:
        raise ValueError(f"num_samples must be in [1, dim), got {n} and {d}; with more labels nothing interpolates.")
    if all(is_concrete(value) for value in (s, d)) and not 1 <= s < d:
        raise ValueError(f"num_favoured must be in [1, dim), got {s} and {d}; the true feature is favoured.")
    if is_concrete(a) and not 0 < a < 1:
        raise ValueError(f"favoured_weight must be in (0, 1), got {a}; it is a share of the variance.")
