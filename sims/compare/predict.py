"""What theory predicts of each row of a table, and the binomial error of the difference to what was observed.

RULES. A row takes the first that its columns allow.

    mixed labels         true_share > 0: `theory_zoo.mixed_label_student`
    on the path          start and student_agreement: `theory_zoo.tuned_accuracy` at the progress 1 - (1 - h)/(1 - g)
    trained to the end   else: the teacher's accuracy

Where the agreement of start and teacher is missing it is that of unrelated errors, `theory_zoo.unrelated_agreement`.

ERRORS. All rates of a row are shares of the same n test inputs. On the path the model fixes how start, teacher and
student share inputs: where start and teacher agree the student agrees with both. So an input falls in one of six cells,
whose shares follow from the rates, and the error of observed less predicted is that of the mean of one number a cell
(delta method). Elsewhere the joint shares are not known: errors are added as if independent, which overstates them
where student and teacher are right on the same inputs.
"""

from typing import NamedTuple

import jax
import numpy as np

from sims.compare.table import Row
from sims.engine.checked import InputError
from w2s_jax.forecast import check_rates
from w2s_jax.theory_zoo import mixed_label_student, tuned_accuracy, unrelated_agreement

MIXED, PATH, END = "mixed labels", "on the path", "trained to the end"


class Prediction(NamedTuple):
    """A row with its prediction."""

    row: Row
    rule: str
    predicted: float
    """Accuracy; NaN where theory says nothing."""
    error: float
    """Standard error of observed less predicted; NaN without n."""
    remark: str = ""

    @property
    def z(self) -> float:
        """Observed less predicted, in standard errors."""
        return (self.row.student - self.predicted) / self.error


def predict(rows: list[Row]) -> list[Prediction]:
    """The predictions of a table, row by row.

    Raises:
        InputError: naming the row whose rates contradict each other.
    """
    return [_of_row(row) for row in rows]


def points(predictions: list[Prediction]) -> dict[str, np.ndarray]:
    """What a figure needs: of each rule the predicted and the observed accuracy and the error, `[3 rows]`."""
    known = [one for one in predictions if not np.isnan(one.predicted)]
    rules = dict.fromkeys(one.rule for one in known)
    return {
        rule: np.array([(one.predicted, one.row.student, one.error) for one in known if one.rule == rule]).T
        for rule in rules
    }


def _of_row(row: Row) -> Prediction:
    if row.true_share:
        return _mixed(row)
    if row.start is not None and row.student_agreement is not None:
        return _on_path(row)
    if row.student_agreement is None:
        variance = _binomial(row.teacher) + _binomial(row.student)
    else:
        variance = 1 - row.student_agreement - (row.student - row.teacher) ** 2
    return Prediction(row, END, row.teacher, _error(variance, row.n))


def _mixed(row: Row) -> Prediction:
    nothing = float("nan")
    if row.ceiling is None:
        return Prediction(row, MIXED, nothing, nothing, "not known: true labels need the column ceiling")
    naive = row.teacher if row.naive is None else row.naive
    seen = 1.0 if row.naive_agreement is None else row.naive_agreement
    if not (row.ceiling > 0.5 and seen > 0.5 and 1 - row.ceiling <= naive <= row.ceiling):
        return Prediction(row, MIXED, nothing, nothing, "not known: weak labels alone beat the ceiling")
    rates = [row.ceiling, naive, seen]
    slopes = [float(slope) for slope in _mixed_slopes(row.true_share, *rates)]
    variance = _binomial(row.student) + sum(s**2 * _binomial(rate) for s, rate in zip(slopes, rates) if rate < 1)
    return Prediction(row, MIXED, float(_mixed_accuracy(row.true_share, *rates)), _error(variance, row.n))


def _on_path(row: Row) -> Prediction:
    start, agreement, seen = row.start, row.agreement, row.student_agreement
    assert start is not None and seen is not None
    inferred = agreement is None
    if inferred:
        agreement = float(unrelated_agreement(start, row.teacher))
    try:
        check_rates(start, row.teacher, agreement)
    except ValueError as error:
        raise InputError(f"{row.label}: {error}") from error
    form, slopes_of = (_unrelated_path, _unrelated_slopes) if inferred else (_path_accuracy, _path_slopes)
    rates = (start, row.teacher, seen) if inferred else (start, row.teacher, seen, agreement)
    slopes = [float(slope) for slope in slopes_of(*rates)]
    cells = _cells(start, row.teacher, agreement, row.student, seen)
    remark = "agreement inferred: unrelated errors" if inferred else ""
    if seen < agreement:
        remark = "further from its teacher than its start was"
    if row.n is not None:
        cells = (cells * row.n + 0.5) / (row.n + len(cells) / 2)  # Jeffreys' prior: no cell is known to be empty
    return Prediction(row, PATH, float(form(*rates)), _error(_spread(cells, slopes), row.n), remark)


def _cells(start: float, teacher: float, agreement: float, student: float, seen: float) -> np.ndarray:
    """Shares of the six cells: all right; start alone right, student with it or not; teacher alone; none right."""
    both = (start + teacher + agreement - 1) / 2
    start_alone, teacher_alone = start - both, teacher - both
    with_teacher = max(seen - agreement, 0.0)
    # Where the two disagree the student sides with one: from its accuracy, and from how often with the teacher.
    right_with_start = (student - both - with_teacher + start_alone) / 2
    right_with_teacher = student - both - right_with_start
    shares = np.array(
        [
            both,
            right_with_start,
            start_alone - right_with_start,
            right_with_teacher,
            teacher_alone - right_with_teacher,
            agreement - both,
        ]
    )
    shares = np.maximum(shares, 0.0)
    return shares / shares.sum()


EVENTS = {
    "start": (1, 1, 1, 0, 0, 0),
    "teacher": (1, 0, 0, 1, 1, 0),
    "seen": (1, 0, 1, 1, 0, 1),
    "agreement": (1, 0, 0, 0, 0, 1),
    "student": (1, 1, 0, 1, 0, 0),
}
"""In which of the six cells start, teacher and student are right, and in which the teacher agrees."""


def _spread(cells: np.ndarray, slopes: list[float]) -> float:
    """Variance over inputs of what observed less predicted is the mean of."""
    number = np.array(EVENTS["student"], float)
    for slope, event in zip(slopes, ("start", "teacher", "seen", "agreement")):
        number -= slope * np.array(EVENTS[event])
    return float(cells @ number**2 - (cells @ number) ** 2)


def _binomial(rate: float) -> float:
    return rate * (1 - rate)


def _error(variance: float, n: int | None) -> float:
    return float("nan") if n is None else float(np.sqrt(max(variance, 0.0) / n))


@jax.jit
def _path_accuracy(start, teacher, seen, agreement):
    progress = jax.numpy.clip(1 - (1 - seen) / (1 - agreement), 0, 1)
    return tuned_accuracy(start, teacher, agreement, progress)


@jax.jit
def _unrelated_path(start, teacher, seen):
    return _path_accuracy(start, teacher, seen, unrelated_agreement(start, teacher))


@jax.jit
def _mixed_accuracy(true_share, ceiling, naive, seen):
    return mixed_label_student(true_share, ceiling, naive, seen).accuracy


_path_slopes = jax.jit(jax.grad(_path_accuracy, argnums=(0, 1, 2, 3)))
_unrelated_slopes = jax.jit(jax.grad(_unrelated_path, argnums=(0, 1, 2)))
_mixed_slopes = jax.jit(jax.grad(_mixed_accuracy, argnums=(1, 2, 3)))
