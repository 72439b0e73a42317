"""A few true labels among the weak ones: accuracy of the student, and the share of its teacher's errors that it copies.

MODEL. Standard gaussian inputs x, the truth sign(u . x), a teacher sign(t . x). The student is a half-space of features
that need not show all of x: linear functions of Px for a projection P. It is trained to the end by the logistic loss on
labels of which a random share f is true and the rest is the teacher's.

EQUATIONS (derived here). On the population the loss is least where A w = f Pu + (1 - f) Pt for some A > 0, since
E [1(u . x > 0) x] = u / sqrt(2 pi) for unit u (Stein's lemma). Two students that can be measured fix all products:

    the ceiling, trained on true labels, has direction Pu, cosine c_v with the truth:      |Pu| = c_v
    the naive student, on weak labels, has direction Pt, cosine c_n with the truth and s with its teacher:
                                                                                    |Pt| = s,   Pu . Pt = s c_n
    D^2 = f^2 c_v^2 + 2 f (1 - f) s c_n + (1 - f)^2 s^2
    cosine with the truth       [f c_v^2 + (1 - f) s c_n] / D
    cosine with the teacher     [f s c_n + (1 - f) s^2] / D

and a cosine c is an accuracy, or an agreement, of 1 - arccos(c)/pi. Where the student can express its teacher s = 1, so
that two accuracies predict the curve over f. Of three two-class labels one differs or none: the share of inputs on
which student and teacher are wrong together is (1 + g - p - p_t)/2 for accuracies p, p_t and agreement g, whatever the
model.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.theory_zoo.accuracy import Shares, accuracy_of_cosine, check_shares, cosine_of_accuracy
from w2s_jax.types import is_concrete


class MixedStudent(NamedTuple):
    """A student of weak labels among which some are true."""

    accuracy: Float[Array, "..."]
    """Its accuracy."""
    agreement: Float[Array, "..."]
    """Share of the inputs on which it agrees with its teacher."""


def mixed_label_student(
    true_share: Shares, ceiling_accuracy: Shares, naive_accuracy: Shares, naive_agreement: Shares = 1.0
) -> MixedStudent:
    """The student trained on weak labels of which a random share was replaced by true ones.

        cos(w, u) = [f c_v^2 + (1 - f) s c_n] / D,    cos(w, t) = [f s c_n + (1 - f) s^2] / D

    Args:
        true_share: f in [0, 1], any shape.
        ceiling_accuracy: accuracy of the same student on true labels alone, in (0.5, 1], any shape.
        naive_accuracy: its accuracy on weak labels alone, from 1 - ceiling_accuracy to ceiling_accuracy, any shape.
        naive_agreement: share of inputs on which the naive student agrees with its teacher, in (0.5, 1], any shape; 1
            for a teacher that it can express. Then `naive_accuracy` is its teacher's.

    Returns:
        A `MixedStudent`.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: standard gaussian features, no bias, two classes, the population logistic loss trained to its minimum, and
        hard labels.

    Reference: derived.

    >>> student = mixed_label_student(jnp.array([0.0, 0.5, 1.0]), 0.8, 0.7)
    >>> [f"{p:.4f}" for p in student.accuracy], [f"{g:.4f}" for g in student.agreement]
    (['0.7000', '0.7644', '0.8000'], ['1.0000', '0.8928', '0.7589'])
    """
    check_shares(true_share=true_share)
    check_shares(ceiling_accuracy=ceiling_accuracy, naive_accuracy=naive_accuracy, naive_agreement=naive_agreement)
    for name, value in (("ceiling_accuracy", ceiling_accuracy), ("naive_agreement", naive_agreement)):
        if is_concrete(value) and value <= 0.5:
            raise ValueError(f"{name} must be over 0.5, got {value}: below it, labels of two classes teach nothing.")
    both = is_concrete(ceiling_accuracy) and is_concrete(naive_accuracy)
    if both and not 1 - ceiling_accuracy <= naive_accuracy <= ceiling_accuracy:
        raise ValueError(
            f"naive_accuracy must lie between 1 - ceiling_accuracy = {1 - ceiling_accuracy:.6g} and "
            f"ceiling_accuracy = {ceiling_accuracy}, got {naive_accuracy}: true labels lead to the best student."
        )
    true, weak = jnp.asarray(true_share), 1 - jnp.asarray(true_share)
    ceiling, naive, teacher = map(cosine_of_accuracy, (ceiling_accuracy, naive_accuracy, naive_agreement))
    shared = teacher * naive
    length = jnp.sqrt(true**2 * ceiling**2 + 2 * true * weak * shared + weak**2 * teacher**2)
    with_truth = (true * ceiling**2 + weak * shared) / length
    with_teacher = (true * shared + weak * teacher**2) / length
    return MixedStudent(*(accuracy_of_cosine(jnp.clip(c, -1, 1)) for c in (with_truth, with_teacher)))


def copied_errors(accuracy: Shares, teacher_accuracy: Shares, agreement: Shares) -> Float[Array, "..."]:
    """Share of the teacher's errors that a student repeats.

        P(student wrong | teacher wrong) = (1 + g - p - p_t) / (2 (1 - p_t))

    Args:
        accuracy: p of the student, in [0, 1], any shape.
        teacher_accuracy: p_t in [0, 1), any shape.
        agreement: g, the share of inputs on which the two agree, in `agreement_range`, any shape.

    Returns:
        A share, in [0, 1].

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: two classes.

    Reference: textbook.

    >>> round(float(copied_errors(0.8, 0.7, 0.76)), 4)
    0.4333
    """
    check_shares(accuracy=accuracy, teacher_accuracy=teacher_accuracy, agreement=agreement)
    if is_concrete(teacher_accuracy) and teacher_accuracy == 1:
        raise ValueError("teacher_accuracy must be under 1, got 1: a perfect teacher has no errors to copy.")
    wrong = 1 - jnp.asarray(teacher_accuracy)
    return (wrong + jnp.asarray(agreement) - jnp.asarray(accuracy)) / (2 * wrong)


def teacher_rates(accuracy: float, right_where_wrong: float, right_where_right: float) -> tuple[float, float]:
    """The teacher's accuracy, and its agreement with a student, from how the student does where the teacher errs.

        p_t = (p - w)/(r - w),    g = p_t r + (1 - p_t) (1 - w)

    Args:
        accuracy: p of the student, between the other two.
        right_where_wrong: w, its accuracy where the teacher is wrong, in [0, 1].
        right_where_right: r, its accuracy where the teacher is right, in [0, 1], another number than w.

    Returns:
        (accuracy of the teacher, agreement), shares.

    Assumes: two classes.

    Reference: textbook.

    >>> [round(rate, 3) for rate in teacher_rates(0.65, 0.2, 0.9)]
    [0.643, 0.864]
    """
    teacher = (accuracy - right_where_wrong) / (right_where_right - right_where_wrong)
    return teacher, teacher * right_where_right + (1 - teacher) * (1 - right_where_wrong)
