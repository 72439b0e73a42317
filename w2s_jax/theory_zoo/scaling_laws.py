r"""Scaling laws of random-feature ridge: a student can have a better exponent than the teacher that labelled its data.

MODEL (Wu, Chen, Misiakiewicz and Mondelli, arXiv 2603.05691, for the setting and the claim). Teacher and student are
those of `feature_ridge`, on power laws without end: eigenvalues lambda_k = k^-alpha and a target with b_k^2 =
k^-(1 + 2 alpha r), alpha > 1 and r > 0. Samples grow as N^x, the width as N^y, and the penalty falls as N^-l, each for
teacher and student; the noise of the true labels has a fixed variance.

EQUATIONS (derived: powers of the deterministic equivalents). The one penalty is nu ~ N^-a with a = min(l, alpha x,
alpha y), and a learner resolves N^e directions, e = a/alpha. Its risk falls as N to the power of minus the least of

    shrinkage   2 a min(r, 1)            features   a min(2r, 1) + y - e            samples   x - e

A student falls with the least of (teacher's a, e, x, y without a mark, student's with one; low = min(a, a'))

    shrinkage   2 low min(r, 1)          its own features     a' - low (1 - min(2r, 1)) + y' - e'
    the teacher's noise of samples       x - max(min(e, e'), e + e' - x')
    the teacher's noise of features      a min(2r, 1) + y - e + min(D + D/alpha, D + y' - e', x' - e'),  D = (a - a')+

More shrinkage than the teacher's removes what the teacher's noise put into the directions between N^e' and N^e. So the
best student has the better exponent if and only if its teacher's is not that of its own shrinkage: if the teacher's
penalty is too small for its samples or its width. Where samples are the teacher's limit the student attains the best
exponent of any penalty, 2 alpha min(r, 1)/(2 alpha min(r, 1) + 1), even if its teacher's risk does not fall at all.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from w2s_jax.types import Scalar, is_concrete

Exponent = Float[Array, "*#b"] | Scalar
"""Numbers, alone or as arrays that broadcast."""


class Schedule(NamedTuple):
    """How a learner grows with N: samples N^x, width N^y, penalty N^-l."""

    penalty: Exponent
    """l > 0; `inf` without a penalty."""
    width: Exponent = math.inf
    """y > 0; `inf` for an infinite width."""
    samples: Exponent = 1.0
    """x > 0; `inf` for the whole population."""


class BestSchedule(NamedTuple):
    """The best student of a teacher."""

    exponent: Float[Array, "..."]
    """Its risk falls as N to the power of minus this."""
    penalty: Float[Array, "..."]
    """l of its penalty N^-l."""


def power_law_spectrum(capacity: Scalar, source: Scalar, dim: int) -> tuple[Float[Array, "d"], Float[Array, "d"]]:
    """Eigenvalues and coefficients of the target that fall as powers.

        lambda_k = k^-alpha,    b_k^2 = k^-(1 + 2 alpha r),    k = 1 ... d

    Args:
        capacity: alpha > 1, shape `[]`.
        source: r > 0, shape `[]`: how smooth the target is.
        dim: d, where the spectrum is cut off.

    Returns:
        (lambda, b), `[d]` each.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: nothing.

    Reference: textbook (Caponnetto and De Vito 2007).

    >>> lam, b = power_law_spectrum(2.0, 0.75, 3)
    >>> [round(float(x), 4) for x in (lam[1], b[1])]
    [0.25, 0.25]
    """
    _check_target(capacity, source)
    index = jnp.arange(1, dim + 1, dtype=float)
    return index**-capacity, index ** -(0.5 + capacity * source)


def feature_ridge_exponent(capacity: Exponent, source: Exponent, teacher: Schedule) -> Float[Array, "..."]:
    """How fast the risk of random-feature ridge on noisy labels falls as it grows: the teacher's exponent.

        min(2 a min(r, 1), a min(2r, 1) + y - e, x - e),    a = min(l, alpha x, alpha y),    e = a/alpha

    with alpha = `capacity`, r = `source` and x = `samples`, y = `width`, l = `penalty` of the schedule.

    Args:
        capacity: alpha > 1, any shape.
        source: r > 0, any shape.
        teacher: a `Schedule`.

    Returns:
        g of a risk that falls as N^-g (times a logarithm where two powers meet); 0 where it does not fall.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: noise of a fixed variance, an endless spectrum; width and samples away from each other where there is no
        penalty.

    Reference: derived; Defilippis, Loureiro and Misiakiewicz (arXiv 2405.15699) for the setting.

    >>> [round(float(feature_ridge_exponent(1.5, 0.5, Schedule(penalty=l))), 3) for l in (0.3, 0.6, 1.5)]
    [0.3, 0.6, 0.0]
    """
    _check_target(capacity, source)
    _check_schedule(teacher)
    resolved, directions = _resolved(capacity, teacher)
    shrinkage, features = 2 * resolved * jnp.minimum(source, 1), resolved * jnp.minimum(2 * source, 1)
    return jnp.minimum(jnp.minimum(shrinkage, features + teacher.width - directions), teacher.samples - directions)


def feature_ridge_student_exponent(
    capacity: Exponent, source: Exponent, teacher: Schedule, student: Schedule
) -> Float[Array, "..."]:
    """How fast the risk of the student of a random-feature ridge teacher falls as both grow.

        the least of the four exponents of the module docstring: shrinkage, the student's features, and the teacher's
        noise of samples and of features that the student lets through

    Args:
        capacity: alpha > 1, any shape.
        source: r > 0, any shape.
        teacher: a `Schedule`.
        student: a `Schedule` in the same N.

    Returns:
        g of a risk that falls as N^-g; negative where the student has far fewer labels than its teacher.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: as `feature_ridge_exponent`.

    Reference: derived; Wu et al. (arXiv 2603.05691) for the claim that it may be better than the teacher's.

    >>> teacher = Schedule(penalty=math.inf)
    >>> [round(float(feature_ridge_student_exponent(1.5, 0.5, teacher, Schedule(l))), 3) for l in (0.3, 0.6, 1.5)]
    [0.3, 0.6, 0.0]
    """
    _check_target(capacity, source)
    _check_schedule(teacher)
    _check_schedule(student)
    once, twice = jnp.minimum(source, 1), jnp.minimum(2 * source, 1)
    a, e = _resolved(capacity, teacher)
    own, e_own = _resolved(capacity, student)
    low, more = jnp.minimum(a, own), jnp.maximum(a - own, 0)
    cut_off = jnp.minimum(
        jnp.minimum(1 / jnp.asarray(capacity) * more, student.width - e_own) + more, student.samples - e_own
    )
    terms = (
        2 * low * once,
        own - low * (1 - twice) + student.width - e_own,
        teacher.samples - jnp.maximum(jnp.minimum(e, e_own), e + e_own - student.samples),
        a * twice + teacher.width - e + cut_off,
    )
    return jnp.min(jnp.stack(jnp.broadcast_arrays(*terms)), 0)


def best_student_schedule(capacity: Exponent, source: Exponent, teacher: Schedule) -> BestSchedule:
    """The best exponent of any student, and the penalty that attains it.

        g = 2 l' min(r, 1),
        l' = min(a, x/(2 min(r, 1) + 1/alpha), [a (min(2r, 1) + 1) + y]/(2 min(r, 1) + 1 + 1/alpha))

    with a of the teacher: where the shrinkage of the student meets what it lets through of its teacher's noise. g is
    more than the teacher's own if and only if `feature_ridge_exponent` < 2 a min(r, 1).

    Args:
        capacity: alpha > 1, any shape.
        source: r > 0, any shape.
        teacher: a `Schedule`.

    Returns:
        A `BestSchedule`, for a student of unlimited width and number of labels; N^x labels suffice.

    Raises:
        ValueError: if a Python number is out of its range.

    Assumes: as `feature_ridge_exponent`.

    Reference: derived; Wu et al. (arXiv 2603.05691) for the claim that it may be the best exponent of any estimator
        while the teacher's risk does not fall.

    >>> best = best_student_schedule(1.5, 0.5, Schedule(penalty=math.inf))
    >>> round(float(best.exponent), 3), round(float(best.penalty), 3)
    (0.6, 0.6)
    """
    _check_target(capacity, source)
    _check_schedule(teacher)
    once, twice = jnp.minimum(source, 1), jnp.minimum(2 * source, 1)
    inverse = 1 / jnp.asarray(capacity)
    a, _ = _resolved(capacity, teacher)
    by_samples = teacher.samples / (2 * once + inverse)
    by_features = (a * (twice + 1) + teacher.width) / (2 * once + 1 + inverse)
    penalty = jnp.minimum(a, jnp.minimum(by_samples, by_features))
    return BestSchedule(2 * penalty * once, penalty)


def _resolved(capacity: Exponent, schedule: Schedule) -> tuple[Array, Array]:
    """(a, e): nu ~ N^-a, and N^e directions are learned."""
    sizes = jnp.minimum(jnp.asarray(schedule.samples), jnp.asarray(schedule.width))
    resolved = jnp.minimum(jnp.asarray(schedule.penalty), capacity * sizes)
    return resolved, resolved / capacity


def _check_schedule(schedule: Schedule) -> None:
    for name, value in schedule._asdict().items():
        if is_concrete(value) and not value > 0:
            raise ValueError(f"{name} of a Schedule must be positive, got {value}; it is the exponent of a power of N.")


def _check_target(capacity: Exponent, source: Exponent) -> None:
    if is_concrete(capacity) and not capacity > 1:
        raise ValueError(f"capacity must be more than 1, got {capacity}; the eigenvalues must have a finite sum.")
    if is_concrete(source) and not source > 0:
        raise ValueError(f"source must be positive, got {source}; the target must have a finite square.")
