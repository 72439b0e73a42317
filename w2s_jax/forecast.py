"""What three measured rates predict of naive fine-tuning, with the intervals that their samples leave.

EQUATIONS (derived). The path of accuracies is that of `theory_zoo.accuracy`. Its inputs are shares of drawn test
inputs. For two classes an input falls in one of four cells: start and teacher are both right, one of them is, or none.
Three rates fix the shares of all four:

    both right (p_b + p_t + g - 1)/2      start alone (p_b - p_t + 1 - g)/2      teacher alone (p_t - p_b + 1 - g)/2

Under Jeffreys' prior, Dirichlet(1/2, 1/2, 1/2, 1/2), their posterior is again Dirichlet. Its draws are rates that
can occur, and intervals of any function of the rates are quantiles over draws. More inputs without labels, for the
agreement alone, would hardly narrow them: the accuracies carry nearly all of the error.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from w2s_jax.theory_zoo.accuracy import (
    agreement_range,
    best_accuracy,
    check_shares,
    first_gain,
    tuned_accuracy,
)
from w2s_jax.types import Key

Count = int | Int[Array, ""]
Number = float | int

STEPS = 51
"""Places on the path unless others are asked for."""


class Rates(NamedTuple):
    """Rates of a start and its teacher, measured or drawn."""

    start: Float[Array, "..."]
    """Accuracy of the student before fine-tuning."""
    teacher: Float[Array, "..."]
    """Accuracy of the teacher."""
    agreement: Float[Array, "..."]
    """Share of the inputs on which the two agree."""


class Interval(NamedTuple):
    """A value with the ends of its interval; NaN where there is none."""

    value: Float[Array, "..."]
    low: Float[Array, "..."]
    high: Float[Array, "..."]


class AccuracyPath(NamedTuple):
    """What fine-tuning on the teacher's labels is expected to do."""

    progress: Float[Array, "T"]
    """Share of the way from the start, 0, to the teacher, 1."""
    agreement: Float[Array, "T"]
    """Share of the inputs on which a student there agrees with its teacher: how to find the place without labels."""
    accuracy: Interval
    """Accuracy there, `[T]`."""
    best: Interval
    """Accuracy at the best place."""
    best_progress: Interval
    """The best place."""
    gain: Interval
    """The best accuracy less that of the start."""
    gains: Float[Array, ""]
    """Probability that fine-tuning gains at first; 0 or 1 without counts."""
    passes: Float[Array, ""]
    """Probability that the best student beats both its start and its teacher; 0 or 1 without counts."""


def accuracy_path(
    start_accuracy: Number,
    teacher_accuracy: Number,
    agreement: Number,
    *,
    num_labelled: int | None = None,
    progress: Float[Array, "T"] | None = None,
    level: Number = 0.95,
    num_draws: int = 4000,
    seed: int = 0,
) -> AccuracyPath:
    """The whole path of naive fine-tuning in accuracy, from two accuracies and one agreement rate.

    Not to be traced: it checks its numbers. `theory_zoo.tuned_accuracy` and its neighbours are the kernels.

    Args:
        start_accuracy: p_b of the student before fine-tuning, in (0, 1).
        teacher_accuracy: p_t, in (0, 1).
        agreement: g, share of the inputs on which the two agree, in `theory_zoo.agreement_range`.
        num_labelled: labelled inputs on which all three were measured, >= 1. None: no intervals.
        progress: places on the path, in [0, 1], `[T]`; 51 even ones by default.
        level: coverage of the intervals, in (0, 1).
        num_draws: draws of the posterior, >= 100.
        seed: of these draws.

    Returns:
        An `AccuracyPath`.

    Raises:
        ValueError: if a number is out of its range, or the agreement is one that the accuracies do not allow.

    Assumes: two classes; `theory_zoo.accuracy` says what else.

    Reference: derived; Geng, Hansen and Li (arXiv 2605.05742) for the model.

    >>> path = accuracy_path(0.8, 0.7, 0.66, num_labelled=500)
    >>> f"{path.best.value:.3f}, from {path.best.low:.2f} to {path.best.high:.2f}"
    '0.817, from 0.78 to 0.85'
    >>> f"{path.best_progress.value:.2f} of the way; gains: {path.gains:.2f}, beats both: {path.passes:.2f}"
    '0.26 of the way; gains: 1.00, beats both: 1.00'
    """
    check_rates(start_accuracy, teacher_accuracy, agreement)
    _check_counts(num_labelled, level, num_draws)
    places = jnp.linspace(0, 1, STEPS) if progress is None else jnp.asarray(progress, float)
    measured = Rates(*(jnp.asarray(rate, float) for rate in (start_accuracy, teacher_accuracy, agreement)))
    found = _read(measured, places)
    if num_labelled is None:
        drawn = jax.tree.map(lambda x: jnp.full((1, *x.shape), jnp.nan), found)
        gains, passes = found["gains"].astype(float), found["passes"].astype(float)
    else:
        rates = draw_rates(jax.random.key(seed), measured, num_labelled, num_draws)
        drawn = jax.vmap(_read, (0, None))(rates, places)
        gains, passes = drawn["gains"].mean(), drawn["passes"].mean()
    tail = (1 - level) / 2

    def interval(name: str) -> Interval:
        return Interval(found[name], *jnp.quantile(drawn[name], jnp.array([tail, 1 - tail]), axis=0))

    return AccuracyPath(
        places,
        1 - (1 - places) * (1 - measured.agreement),
        interval("accuracy"),
        interval("best"),
        interval("best_progress"),
        interval("gain"),
        gains,
        passes,
    )


def draw_rates(key: Key, measured: Rates, num_labelled: Count, num_draws: int) -> Rates:
    """Rates that could have given the measured ones: draws of their posterior, `[num_draws]`.

    Args:
        key: of the draws.
        measured: the measured rates, numbers that `check_rates` takes.
        num_labelled: labelled inputs on which all three were measured.
        num_draws: how many.

    Returns:
        `Rates`.

    Assumes: two classes, independent inputs.

    Reference: textbook (Jeffreys' prior of a multinomial).

    >>> rates = draw_rates(jax.random.key(0), Rates(jnp.array(0.8), jnp.array(0.7), jnp.array(0.66)), 500, 1000)
    >>> [f"{x.mean():.2f} +- {x.std():.2f}" for x in rates]
    ['0.80 +- 0.02', '0.70 +- 0.02', '0.66 +- 0.02']
    """
    start, teacher, agreement = measured
    both = (start + teacher + agreement - 1) / 2
    cells = jnp.stack([both, start - both, teacher - both, agreement - both])
    drawn = jax.random.dirichlet(key, jnp.maximum(cells, 0) * num_labelled + 0.5, (num_draws,))
    both, start_alone, teacher_alone, none = jnp.moveaxis(drawn, -1, 0)
    return Rates(both + start_alone, both + teacher_alone, both + none)


def check_rates(start_accuracy: Number, teacher_accuracy: Number, agreement: Number) -> None:
    """Refuse rates that two classifiers of two classes cannot have.

    Raises:
        ValueError: which says the range.

    >>> check_rates(0.8, 0.7, 0.95)
    Traceback (most recent call last):
    ValueError: agreement must be in [0.5, 0.9] for accuracies 0.8 and 0.7, got 0.95; measure them on the same inputs.
    """
    check_shares(start_accuracy=start_accuracy, teacher_accuracy=teacher_accuracy, agreement=agreement)
    for name, rate in (("start_accuracy", start_accuracy), ("teacher_accuracy", teacher_accuracy)):
        if rate in (0, 1):
            raise ValueError(f"{name} must be in (0, 1), got {rate}; such a classifier has nothing to learn or teach.")
    low, high = (float(end) for end in agreement_range(start_accuracy, teacher_accuracy))
    if not low - 1e-6 <= agreement <= high + 1e-6:
        raise ValueError(
            f"agreement must be in [{low:.4g}, {high:.4g}] for accuracies {start_accuracy} and {teacher_accuracy}, "
            f"got {agreement}; measure them on the same inputs."
        )


def _check_counts(num_labelled: int | None, level: Number, num_draws: int) -> None:
    if num_labelled is not None and num_labelled < 1:
        raise ValueError(f"num_labelled must be at least 1, got {num_labelled}; leave it out for no intervals.")
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}; 0.95 is usual.")
    if num_draws < 100:
        raise ValueError(f"num_draws must be at least 100, got {num_draws}; quantiles need them.")


@jax.jit
def _read(rates: Rates, places: Float[Array, "T"]) -> dict[str, Array]:
    """Everything that `AccuracyPath` says, at given rates."""
    best = best_accuracy(*rates)
    return {
        "accuracy": tuned_accuracy(*rates, places),
        "best": best.accuracy,
        "best_progress": best.progress,
        "gain": best.accuracy - rates.start,
        "gains": first_gain(*rates) > 0,
        "passes": best.accuracy > jnp.maximum(rates.start, rates.teacher) + 1e-6,
    }
