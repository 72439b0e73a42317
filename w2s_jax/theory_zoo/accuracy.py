"""Naive fine-tuning in the metric of accuracy: two accuracies and one agreement rate predict its whole path.

MODEL (Geng, Hansen and Li, arXiv 2605.05742, for logistic students and the claim). Standard gaussian features x. The
truth is sign(u . x), the teacher's label follows t . x, and the student sign(w . x) starts at w = b and is fine-tuned
by the logistic loss on the teacher's labels: their probabilities, or labels drawn from them. Lengths do not matter to
accuracies, so u, t and b stand for their directions.

EQUATIONS (derived here). Two half-spaces at an angle a agree on a share 1 - a/pi of the inputs, so

    accuracy p of a classifier at cosine c with the truth      p = 1 - arccos(c)/pi,      c = -cos(pi p)
    agreement g of start and teacher, angle theta              theta = pi (1 - g)

On the population the loss has gradient E [(s(w . x) - q(t . x)) x] for the logistic function s and any rising label
probability q. By Stein's lemma it is A w - B t with A, B > 0, so the flow stays in the plane of b and t and turns from
b towards t without turning back. Where it has turned by a share f of theta its agreement with the teacher is
1 - (1 - f)(1 - g), and with c_b, c_t the cosines of start and teacher with the truth and c that of the two,

    c(f) = [c_b sin((1 - f) theta) + c_t sin(f theta)] / sin(theta)
    first gain     dp/df at 0 = theta (c_t - c_b c) / (pi sin(theta) sqrt(1 - c_b^2)):    it gains iff c_t > c_b c
    best           c^2 = (c_b^2 + c_t^2 - 2 c_b c_t c) / (1 - c^2) inside the path,       else the better of its ends
    beyond both    it passes its teacher too iff also c_b > c_t c

All is measured without a further true label: g is read off predictions on unlabelled inputs. Where the errors of start
and teacher point in unrelated directions c = c_b c_t, and every teacher better than chance helps.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.types import Scalar, is_concrete

Shares = Float[Array, "*#b"] | Scalar
"""Numbers in [0, 1], alone or as arrays that broadcast."""


class BestStudent(NamedTuple):
    """Where naive fine-tuning is best."""

    accuracy: Float[Array, "..."]
    """Its accuracy there."""
    progress: Float[Array, "..."]
    """How far it has turned from the start, 0, to the teacher, 1."""


def accuracy_of_cosine(cosine: Shares) -> Float[Array, "..."]:
    """Accuracy of a half-space at an angle with the true one.

        p = 1 - arccos(c)/pi

    Args:
        cosine: c of the angle between the two normals, in [-1, 1], any shape.

    Returns:
        Share of inputs on which they agree, in [0, 1], of that shape.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: standard gaussian features, or any law with their directions.

    Reference: textbook (Sheppard 1899).

    >>> [f"{accuracy_of_cosine(c):.4f}" for c in (1.0, 0.5, 0.0)]
    ['1.0000', '0.6667', '0.5000']
    """
    if is_concrete(cosine) and not -1 <= cosine <= 1:
        raise ValueError(f"cosine must be in [-1, 1], got {cosine}.")
    return 1 - jnp.arccos(jnp.asarray(cosine)) / jnp.pi


def cosine_of_accuracy(accuracy: Shares) -> Float[Array, "..."]:
    """The cosine with the truth that an accuracy stands for: c = -cos(pi p).

    Args:
        accuracy: p in [0, 1], a fraction, any shape.

    Returns:
        c in [-1, 1], of that shape.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: as `accuracy_of_cosine`, whose inverse it is.

    Reference: textbook (Sheppard 1899).

    >>> [f"{cosine_of_accuracy(p):.3f}" for p in (1.0, 2 / 3, 0.25)]
    ['1.000', '0.500', '-0.707']
    """
    check_shares(accuracy=accuracy)
    return -jnp.cos(jnp.pi * jnp.asarray(accuracy))


def agreement_range(
    start_accuracy: Shares, teacher_accuracy: Shares
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Agreement rates that two accuracies allow.

        |p_b + p_t - 1| <= g <= 1 - |p_b - p_t|

    Args:
        start_accuracy: p_b in [0, 1], any shape.
        teacher_accuracy: p_t in [0, 1], any shape.

    Returns:
        (low, high), in [0, 1].

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: two classes; nothing else, so that data outside of it are miscounted.

    Reference: textbook.

    >>> low, high = agreement_range(0.8, 0.7)
    >>> round(float(low), 6), round(float(high), 6)
    (0.5, 0.9)
    """
    check_shares(start_accuracy=start_accuracy, teacher_accuracy=teacher_accuracy)
    start, teacher = jnp.asarray(start_accuracy), jnp.asarray(teacher_accuracy)
    return jnp.abs(start + teacher - 1), 1 - jnp.abs(start - teacher)


def unrelated_agreement(start_accuracy: Shares, teacher_accuracy: Shares) -> Float[Array, "..."]:
    """Agreement of a start and a teacher whose errors point in unrelated directions: that of cosine c_b c_t.

    Two directions drawn at random at given angles with the truth agree at this rate in high dimension. It is not the
    rate of errors that are independent from input to input, p_b p_t + (1 - p_b)(1 - p_t): inputs near the boundary are
    hard for both.

    Args:
        start_accuracy: p_b in [0, 1], any shape.
        teacher_accuracy: p_t in [0, 1], any shape.

    Returns:
        g in [0, 1].

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: as `accuracy_of_cosine`.

    Reference: derived.

    >>> round(float(unrelated_agreement(0.8, 0.7)), 4)
    0.6577
    """
    check_shares(start_accuracy=start_accuracy, teacher_accuracy=teacher_accuracy)
    return accuracy_of_cosine(cosine_of_accuracy(start_accuracy) * cosine_of_accuracy(teacher_accuracy))


def tuned_accuracy(
    start_accuracy: Shares, teacher_accuracy: Shares, agreement: Shares, progress: Shares
) -> Float[Array, "..."]:
    """Accuracy of the student where naive fine-tuning has turned it by a share of the way to its teacher.

        c(f) = [c_b sin((1 - f) theta) + c_t sin(f theta)] / sin(theta),    theta = pi (1 - g)

    Args:
        start_accuracy: p_b of the student before, in [0, 1], any shape.
        teacher_accuracy: p_t, in [0, 1], any shape.
        agreement: g, the share of inputs on which the two agree, in `agreement_range`, any shape.
        progress: f in [0, 1], any shape. It can be measured: a student that agrees with its teacher on a share h of
            the inputs has f = 1 - (1 - h)/(1 - g).

    Returns:
        Accuracy, in [0, 1]; where start and teacher agree everywhere, the start's.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: standard gaussian features, no bias, population gradient flow of the logistic loss.

    Reference: derived; Geng, Hansen and Li (arXiv 2605.05742) for the model.

    >>> [f"{p:.4f}" for p in tuned_accuracy(0.8, 0.7, 0.66, jnp.array([0.0, 0.3, 1.0]))]
    ['0.8000', '0.8169', '0.7000']
    """
    check_shares(
        start_accuracy=start_accuracy, teacher_accuracy=teacher_accuracy, agreement=agreement, progress=progress
    )
    start, teacher = cosine_of_accuracy(start_accuracy), cosine_of_accuracy(teacher_accuracy)
    angle, sine = _angle(agreement)
    turned = (start * jnp.sin((1 - progress) * angle) + teacher * jnp.sin(progress * angle)) / sine
    inside = jnp.clip(jnp.where(angle > 0, turned, start), -1, 1)
    return accuracy_of_cosine(inside)


def first_gain(start_accuracy: Shares, teacher_accuracy: Shares, agreement: Shares) -> Float[Array, "..."]:
    """Accuracy that naive fine-tuning gains at first, per unit of progress; negative where it only loses.

        dp/df = theta (c_t - c_b c) / (pi sin(theta) sqrt(1 - c_b^2))

    A student gains over its start if and only if this is positive, that is c_t > c_b c; it also passes its teacher if
    `first_gain(teacher, start, agreement)` is positive too.

    Args:
        start_accuracy: p_b of the student before, in (0, 1), any shape.
        teacher_accuracy: p_t, in [0, 1], any shape.
        agreement: g, in `agreement_range`, any shape.

    Returns:
        A slope; 0 where start and teacher agree everywhere.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: as `tuned_accuracy`.

    Reference: derived; Geng, Hansen and Li (arXiv 2605.05742) for the model and the claim.

    >>> round(float(first_gain(0.8, 0.7, 0.66)), 4), round(float(first_gain(0.8, 0.6, 0.78)), 4)
    (0.1307, -0.1846)
    """
    check_shares(start_accuracy=start_accuracy, teacher_accuracy=teacher_accuracy, agreement=agreement)
    start, teacher = cosine_of_accuracy(start_accuracy), cosine_of_accuracy(teacher_accuracy)
    angle, sine = _angle(agreement)
    apart = jnp.sin(jnp.pi * jnp.asarray(start_accuracy))  # sqrt(1 - c_b^2)
    slope = angle * (teacher - start * jnp.cos(angle)) / (jnp.pi * sine * apart)
    return jnp.where(angle > 0, slope, 0.0)


def best_accuracy(start_accuracy: Shares, teacher_accuracy: Shares, agreement: Shares) -> BestStudent:
    """The best student on the path of naive fine-tuning, and where it is.

        c^2 = (c_b^2 + c_t^2 - 2 c_b c_t c) / (1 - c^2) if the truth's projection lies between start and teacher

    and else the better of the two.

    Args:
        start_accuracy: p_b of the student before, in [0, 1], any shape.
        teacher_accuracy: p_t, in [0, 1], any shape.
        agreement: g, in `agreement_range`, any shape.

    Returns:
        A `BestStudent`.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: as `tuned_accuracy`.

    Reference: derived; Geng, Hansen and Li (arXiv 2605.05742) for the model.

    >>> best = best_accuracy(0.8, 0.7, 0.66)
    >>> round(float(best.accuracy), 4), round(float(best.progress), 4)
    (0.8174, 0.255)
    """
    check_shares(start_accuracy=start_accuracy, teacher_accuracy=teacher_accuracy, agreement=agreement)
    start, teacher = cosine_of_accuracy(start_accuracy), cosine_of_accuracy(teacher_accuracy)
    angle, sine = _angle(agreement)
    # c(f) is a cosine around the truth's projection on the plane: its angle from the start, of tangent over cosine.
    across = (teacher - start * jnp.cos(angle)) / sine
    peak = jnp.arctan2(across, start)
    inside = (angle > 0) & (peak > 0) & (peak < angle)
    end = jnp.where((teacher > start) & (angle > 0), 1.0, 0.0)
    progress = jnp.where(inside, peak / jnp.where(inside, angle, 1.0), end)
    return BestStudent(tuned_accuracy(start_accuracy, teacher_accuracy, agreement, progress), progress)


def _angle(agreement: Shares) -> tuple[Array, Array]:
    """theta, and its sine where that divides; 1 where start and teacher agree or disagree everywhere."""
    angle = jnp.pi * (1 - jnp.asarray(agreement))
    sine = jnp.sin(angle)
    return angle, jnp.where(sine > 1e-6, sine, 1.0)


def check_shares(**shares: Shares) -> None:
    """Refuse a Python number outside [0, 1]."""
    for name, value in shares.items():
        if is_concrete(value) and not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}; a percentage is 100 times too large.")
