"""What the theory predicts for a user's numbers: the risk of every method with a closed form, the winner, and why."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from w2s_jax import theory
from w2s_jax.planning import forms
from w2s_jax.planning.lines import ASSUMES, FORM, FORM_OF_TRUE, SILENT, Prediction
from w2s_jax.planning.phase import PENALTIES, task_of
from w2s_jax.planning.question import Question, read
from w2s_jax.types import Scalar, Task

ENOUGH = 0.05
"""More labels are useless once the risk is within this share of what infinitely many would leave."""
MOST_LABELS, LONGEST_PROMPT = 1e9, 1024
SIZES = 512
"""Numbers of labels at which risks are worked out at a time."""


class Lengths(NamedTuple):
    """Prompt lengths from which refinement beats naive fine-tuning: 0 if every length does, inf if none up to 1024."""

    shared: float | None
    """With one prompt; None where the theory does not know."""
    fresh: float | None
    """With a prompt for each label."""


class FineTuningPath(NamedTuple):
    """Naive fine-tuning in the metric of accuracy (theory_zoo.accuracy)."""

    start_accuracy: float
    teacher_accuracy: float
    agreement: float
    best_accuracy: float
    """The best on the way from the start to the teacher."""
    progress: float
    """Where that is: 0 is the start, 1 the teacher."""
    best_agreement: float
    """Share of inputs on which the best student agrees with its teacher: where to stop."""
    first_gain: float
    """Accuracy gained at first, per unit of progress; not positive where fine-tuning only loses."""
    gains: bool
    """Whether fine-tuning improves on the start at all."""
    passes_teacher: bool
    """Whether the best student is better than its teacher."""


class Plan(NamedTuple):
    """A prediction for one task. Numbers are Python's; None is "not known"."""

    question: Question | None
    """The numbers that it is for; None where only accuracies were given, and so for all up to `path`."""
    predictions: tuple[Prediction, ...]
    """One line a method, naive fine-tuning first."""
    winner: str | None
    """naive_ft or icl_refine_fresh, whichever has the lower risk; None where the stated errors leave it open."""
    ratio: float | None
    """Risk of naive fine-tuning over that of refinement with fresh prompts."""
    best: str | None
    """The student of lowest risk among all that need no true label."""
    lengths: Lengths | None
    """With n labels."""
    lengths_in_the_limit: Lengths | None
    """With infinitely many labels, against the floor: `refinement_crossover`, in whole examples."""
    path: FineTuningPath | None
    """Where the accuracies were given."""
    not_known: tuple[str, ...]
    """What the theory does not say."""

    def line(self, method: str) -> Prediction:
        """The prediction for a method."""
        return next(line for line in self.predictions if line.method == method)


def plan(
    *,
    weak_accuracy: Scalar | None = None,
    concept_shift: Scalar | None = None,
    num_samples: int | None = None,
    dim: int | None = None,
    num_concepts: int | None = None,
    noise_var: Scalar = 0.25,
    num_icl: int = 16,
    weakness: str | None = None,
    start_accuracy: Scalar | None = None,
    teacher_accuracy: Scalar | None = None,
    agreement: Scalar | None = None,
    num_true: int = 0,
) -> Plan:
    """What the theory predicts for a weak teacher and a strong student: risks, the winner, and what would change it.

    The task is that of `make_task`. Where weak_accuracy and concept_shift are left out, the accuracies describe it: the
    start's gives the concept shift, the teacher's the weak accuracy, and the agreement the direction of the teacher's
    error (`planning.question` has the equations). The accuracies alone give the path of fine-tuning.

    Args:
        weak_accuracy: a of the teacher, in (0, 1].
        concept_shift: total variation between source and target prior, in [0, 1).
        num_samples: n >= 1, weak labels to fine-tune on.
        dim: d, features; at least num_concepts, one more for a teacher that leaves their span.
        num_concepts: K >= 2.
        noise_var: sigma^2 > 0 of a label, squared label units.
        num_icl: weak examples in a prompt, >= 0.
        weakness: kind of teacher, one of `WEAKNESSES`; rotated by default.
        start_accuracy: accuracy of the student before fine-tuning, in (0, 1).
        teacher_accuracy: accuracy of the teacher, in (0, 1).
        agreement: share of inputs on which the two agree, within what their accuracies allow.
        num_true: how many of the n labels are true, in [0, n]; where there are any, two students that use them join.

    Returns:
        A `Plan`. Risks are means over data sets, in squared label units; each line states its error.

    Raises:
        ValueError: one sentence, for a number out of range or missing, or accuracies that cannot be.

    Assumes: the model of docs/theory.md 1, with gaussian features; what each line leans on is in its `assumes`.

    Reference: docs/theory.md 3.1 to 3.10 for the risks, docs/theory_zoo.md for the path.

    >>> found = plan(weak_accuracy=0.7, concept_shift=0.5, num_samples=1024, dim=32, num_concepts=2, num_icl=16)
    >>> found.winner, round(found.ratio)
    ('icl_refine_fresh', 34)
    >>> naive = found.line("naive_ft")
    >>> f"{naive.risk:.3f} +- {naive.error:.0e}, {naive.limit:.3f} with more labels"
    '0.353 +- 4e-05, 0.350 with more labels'
    >>> path = plan(start_accuracy=0.8, teacher_accuracy=0.7, agreement=0.66).path
    >>> path.gains, round(path.best_accuracy, 3), round(path.best_agreement, 3)
    (True, 0.817, 0.747)
    """
    question, measured = read(
        weak_accuracy=weak_accuracy,
        concept_shift=concept_shift,
        num_samples=num_samples,
        dim=dim,
        num_concepts=num_concepts,
        noise_var=noise_var,
        num_icl=num_icl,
        weakness=weakness,
        start_accuracy=start_accuracy,
        teacher_accuracy=teacher_accuracy,
        agreement=agreement,
        num_true=num_true,
    )
    path = None if measured is None else _path(*measured)
    if question is None:
        return Plan(None, (), None, None, None, None, None, path, ())
    return _of_task(question, task_of(question), path)


def _path(start: float, teacher: float, agreement: float) -> FineTuningPath:
    accuracy, progress, first, _, low, high = map(float, forms.path_of(start, teacher, agreement))
    if not low - 1e-6 <= agreement <= high + 1e-6:
        raise ValueError(
            f"agreement must be in [{low:.4g}, {high:.4g}], which a start of accuracy {start:g} and a teacher of "
            f"{teacher:g} allow, got {agreement:g}; measure all three on the same inputs."
        )
    stop = 1 - (1 - progress) * (1 - agreement)
    passes = accuracy > max(start, teacher) + 1e-6
    return FineTuningPath(start, teacher, agreement, accuracy, progress, stop, first, first > 0, passes)


def _of_task(question: Question, task: Task, path: FineTuningPath | None) -> Plan:
    at = _refiner(task, question.num_samples)
    level, error = (np.asarray(part) for part in at(question.num_icl)[:2])
    sampled = bool(np.isnan(level).any())
    if sampled:
        found = [theory.sampled_misalignment(task, question.num_icl, prompts) for prompts in ("shared", "fresh")]
        level = np.array([float(one.value) for one in found])
        error = np.array([2 * float(one.error) for one in found])
    errors: dict[str, float | None] = dict(zip(forms.FITTED[1:], (*map(float, error), 0.0, None, 0.0)))

    def known(sizes: np.ndarray) -> forms.Known:
        return jax.tree.map(np.asarray, forms.known_of(task, sizes, level, np.asarray(PENALTIES)))

    lines = _lines(known, question.num_samples, errors, sampled)
    if question.num_true:
        lines += _true_lines(task, question)
    of = {line.method: line for line in lines}
    naive_line, fresh_line = of["naive_ft"], of["icl_refine_fresh"]
    ratio = naive_line.risk / fresh_line.risk if naive_line.risk and fresh_line.risk else None
    students = [line for line in lines if line.method not in ("naive_ft_floor", "ceiling", "weak", *FORM_OF_TRUE)]
    best = min((line for line in students if line.risk is not None), key=lambda line: line.risk or 0.0).method
    now = later = Lengths(None, None)
    if not sampled:
        naive, floor = (math.nan if x is None else x for x in (naive_line.risk, of["naive_ft_floor"].risk))
        now = Lengths(*(_first(lambda m, i=i: bool(at(m).risk[i] < naive)) for i in range(2)))
        later = Lengths(*(_in_the_limit(task, at, i, floor) for i in range(2)))
    not_known = (*SILENT, *["the prompt length from which refinement wins: no closed form here"] * sampled)
    return Plan(question, lines, _winner(naive_line, fresh_line), ratio, best, now, later, path, not_known)


def _lines(
    known: Callable[[np.ndarray], forms.Known], num_samples: int, errors: dict[str, float | None], sampled: bool
) -> tuple[Prediction, ...]:
    """A line a method, from what is known at any numbers of labels."""
    sizes = np.concatenate([[num_samples], np.geomspace(1, MOST_LABELS, SIZES - 1)])
    limits, (curves, naive_error), all_gaps = known(sizes)
    curves = np.asarray(curves)
    errors = {"naive_ft": float(naive_error[0]), **errors}
    fixed = {"source": limits.source, "weak": limits.weak, "naive_ft_floor": limits.floor}
    risk = dict(zip(forms.FITTED, curves[0])) | {method: pair[0] for method, pair in fixed.items()}
    accuracy = dict(zip(forms.FITTED, limits.sign_accuracy)) | {method: pair[1] for method, pair in fixed.items()}
    limit = dict(zip(forms.FITTED, map(float, limits.risk)))
    gaps = dict(zip(risk, all_gaps))

    def curve(sizes: np.ndarray) -> np.ndarray:
        return np.asarray(known(sizes).risks.risk)

    enough = {
        method: _enough(curve, sizes[1:], curves[1:, i], limit[method], i) for i, method in enumerate(forms.FITTED)
    }

    def line(method: str, form: str) -> Prediction:
        value = _known(risk[method])
        return Prediction(
            method,
            value,
            None if value is None else errors.get(method, 0.0),
            _known(limit.get(method, math.nan)),
            _known(gaps[method]),
            _known(accuracy[method]),
            enough.get(method),
            form.replace("theory.misalignment", "theory.sampled_misalignment") if sampled else form,
            ASSUMES[method],
        )

    return tuple(line(method, form) for method, form in FORM.items())


def _true_lines(task: Task, question: Question) -> tuple[Prediction, ...]:
    """Students that use the true labels."""
    found = jax.tree.map(np.asarray, forms.with_true_of(task, float(question.num_samples), float(question.num_true)))
    return tuple(
        Prediction(method, _known(risk), 0.0, _known(limit), _known(gap), _known(accuracy), None, form, ASSUMES[method])
        for (method, form), risk, limit, accuracy, gap in zip(FORM_OF_TRUE.items(), *found)
    )


def _refiner(task: Task, num_samples: int) -> Callable[[int], forms.Refined]:
    """Misalignments, their error and refined risks at a prompt length, each computed once."""
    known: dict[int, forms.Refined] = {}

    def at(length: int) -> forms.Refined:
        if length not in known:
            known[length] = jax.tree.map(np.asarray, forms.refined_of(task, num_samples, float(length)))
        return known[length]

    return at


def _winner(naive: Prediction, fresh: Prediction) -> str | None:
    if naive.risk is None or fresh.risk is None:
        return None
    open_ = abs(naive.risk - fresh.risk) <= (naive.error or 0.0) + (fresh.error or 0.0)
    return None if open_ else naive.method if naive.risk < fresh.risk else fresh.method


def _first(wins: Callable[[int], bool]) -> float:
    """The length from which on refinement wins, found between doublings; inf where it does not at the longest."""
    lengths = [0, *(2**i for i in range(int(math.log2(LONGEST_PROMPT)) + 1))]
    losing = [i for i, length in enumerate(lengths) if not wins(length)]
    if not losing:
        return 0.0
    if losing[-1] == len(lengths) - 1:
        return math.inf
    low, high = lengths[losing[-1]], lengths[losing[-1] + 1]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if wins(middle) else (middle, high)
    return float(high)


def _in_the_limit(task: Task, at: Callable[[int], forms.Refined], which: int, floor: float) -> float:
    """The length from which the misalignment is under the floor; by its sharp form where that is under 1e-4."""
    scale = float(np.asarray(task.feature_var).mean())
    if 0 < floor / scale < 1e-4 and task.concepts.shape[-2] > 2:
        return float(math.ceil(theory.refinement_crossover_asymptotic(task, ("shared", "fresh")[which])))
    return math.inf if floor == 0 else _first(lambda m: bool(scale * at(m).misalignment[which] < floor))


def _enough(curve, sizes: np.ndarray, risks: np.ndarray, limit: float, which: int) -> float | None:
    """Labels from which the risk stays within 5% of its limit; inf where it never does, None where it is not known."""
    if not math.isfinite(limit):
        return None
    for _ in range(2):
        over = np.flatnonzero(~(risks <= (1 + ENOUGH) * limit))
        if limit == 0 or (over.size and over[-1] == len(sizes) - 1):
            return math.inf
        if not over.size:
            return 1.0
        ends = sizes[over[-1]], sizes[over[-1] + 1]
        sizes = np.geomspace(*ends, SIZES)  # as many as before, for the same program
        risks = curve(sizes)[:, which]
    return float(math.ceil(ends[1]))


def _known(value) -> float | None:
    value = float(value)
    return None if math.isnan(value) else value
