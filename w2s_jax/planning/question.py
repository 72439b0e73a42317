"""The numbers that a plan is made from: checked, and accuracies turned into the task that they describe. Needs no jax.

DERIVED. A classifier of accuracy p has the cosine c = -cos(pi p) with the truth (theory_zoo.accuracy). For orthonormal
concepts and an even source prior the source (1 - t) e_* + t v/sqrt(K - 1), with t the concept shift and v the direction
of the rivals, has the tangent t/((1 - t) sqrt(K - 1)). So

    weak accuracy    a = -cos(pi p_t)                                              from the teacher's accuracy p_t
    concept shift    t = T sqrt(K - 1)/(1 + T sqrt(K - 1)),   T = -tan(pi p_b)     from the start's accuracy p_b

and a teacher of length 1 whose error leans toward the rivals by `lean` in [-1, 1],

    beta_w = a e_* + sqrt(1 - a^2) (lean v + sqrt(1 - lean^2) u),

agrees with the source on a share g = 1 - arccos(c)/pi for c = a c_b + lean sqrt(1 - a^2) sqrt(1 - c_b^2). Lean 1 is
the `confused` teacher, 0 the `rotated` one, -1 the `opposed` one; every agreement that two accuracies allow has a lean.
"""

import difflib
import math
import numbers
from typing import NamedTuple

from w2s_jax.names import NEEDS_EXTRA_DIM, WEAKNESSES

OWN = "measured"
"""Kind of a teacher whose direction is read off accuracies and an agreement."""


class Question(NamedTuple):
    """A task as a plan sees it, and how many labels and prompt examples there are."""

    weak_accuracy: float
    """a of `make_task`, in (0, 1]."""
    concept_shift: float
    """Total variation between source and target prior, in [0, 1)."""
    num_samples: int
    """n, labelled examples."""
    dim: int
    """d, features."""
    num_concepts: int
    """K, concepts."""
    noise_var: float
    """sigma^2, squared label units."""
    num_icl: int
    """Weak examples in a prompt."""
    weakness: str
    """One of `WEAKNESSES`, or "measured"."""
    lean: float
    """How far the teacher's error leans toward the rival concepts, from -1 to 1; NaN for `noisy` and `shifted`, which
    have another form."""
    num_true: int = 0
    """How many of the n labels are true."""


class Accuracies(NamedTuple):
    """What was measured of a student before fine-tuning, and of its teacher."""

    start: float
    """Accuracy of the student before, in (0, 1)."""
    teacher: float
    """Accuracy of the teacher, in (0, 1)."""
    agreement: float
    """Share of inputs on which the two agree."""


LEANS = {"rotated": 0.0, "confused": 1.0, "opposed": -1.0}


def read(
    *,
    weak_accuracy,
    concept_shift,
    num_samples,
    dim,
    num_concepts,
    noise_var,
    num_icl,
    weakness,
    start_accuracy,
    teacher_accuracy,
    agreement,
    num_true=0,
) -> tuple[Question | None, Accuracies | None]:
    """The question about a task and the measured accuracies, each None where it was not given.

    Raises:
        ValueError: one sentence, for a number out of range or one that is missing.
    """
    accuracies = _accuracies(start_accuracy, teacher_accuracy, agreement)
    sizes = {"num_samples": num_samples, "dim": dim, "num_concepts": num_concepts}
    given = {"weak_accuracy": weak_accuracy, "concept_shift": concept_shift, **sizes, "weakness": weakness}
    if all(value is None for value in given.values()):
        if accuracies is None:
            raise ValueError(
                "A plan needs numbers, got none; give weak_accuracy, concept_shift, num_samples, dim and num_concepts, "
                "or start_accuracy, teacher_accuracy and agreement."
            )
        return None, accuracies
    lacking = [name for name, value in sizes.items() if value is None]
    if accuracies is None or (weak_accuracy is None) != (concept_shift is None):
        lacking = [name for name in ("weak_accuracy", "concept_shift") if given[name] is None] + lacking
    if lacking:
        raise ValueError(f"The prediction of risks needs {' and '.join(lacking)} too, got none; give a number.")
    num_samples, dim = _whole("num_samples", num_samples, 1), _whole("dim", dim, 1)
    num_concepts = _whole("num_concepts", num_concepts, 2, "; one concept has no shift")
    num_icl, noise_var = _whole("num_icl", num_icl, 0), _number("noise_var", noise_var)
    if not 0 < noise_var < math.inf:
        raise ValueError(f"noise_var must be positive and finite, got {noise_var:g}; it is a variance.")
    if weak_accuracy is None:
        assert accuracies is not None
        if weakness is not None:
            raise ValueError(
                f"weakness must be left out where the teacher is measured, got {weakness!r}; the agreement says of "
                f"what kind it is."
            )
        weakness = OWN
        weak_accuracy, concept_shift, lean = _described(accuracies, num_concepts)
    else:
        weakness = _kind("rotated" if weakness is None else weakness)
        weak_accuracy = _share("weak_accuracy", weak_accuracy, "(0, 1]", "1 is a perfect teacher")
        concept_shift = _share("concept_shift", concept_shift, "[0, 1)", "0 is an aligned source")
        lean = LEANS.get(weakness, math.nan)
    needed = num_concepts + (weakness in NEEDS_EXTRA_DIM or (weakness == OWN and abs(lean) < 1))
    if dim < needed:
        raise ValueError(
            f"dim must be at least {needed} for {num_concepts} concepts and a {weakness} teacher, got {dim}; raise dim "
            f"or lower num_concepts."
        )
    num_true = _whole("num_true", num_true, 0)
    if num_true > num_samples:
        raise ValueError(
            f"num_true must be at most num_samples = {num_samples}, got {num_true}; it counts those of the labels that "
            f"are true."
        )
    law = (weak_accuracy, concept_shift, num_samples, dim, num_concepts, noise_var, num_icl, weakness, lean)
    question = Question(*law, num_true)
    return question, accuracies


def _accuracies(start, teacher, agreement) -> Accuracies | None:
    given = {"start_accuracy": start, "teacher_accuracy": teacher, "agreement": agreement}
    if all(value is None for value in given.values()):
        return None
    lacking = [name for name, value in given.items() if value is None]
    if lacking:
        raise ValueError(f"The path of fine-tuning needs {' and '.join(lacking)} too, got none; measure it.")
    remedy = "give a share of the inputs, such as 0.7"
    start = _share("start_accuracy", start, "(0, 1)", remedy)
    teacher = _share("teacher_accuracy", teacher, "(0, 1)", remedy)
    return Accuracies(start, teacher, _share("agreement", agreement, "[0, 1]", remedy))


def _described(measured: Accuracies, num_concepts: int) -> tuple[float, float, float]:
    """(weak accuracy, concept shift, lean) of the task whose source and teacher have these accuracies."""
    for name, value in (("start_accuracy", measured.start), ("teacher_accuracy", measured.teacher)):
        if value <= 0.5:
            raise ValueError(
                f"{name} must be above 0.5 where it describes a task, got {value:g}; in the model source and teacher "
                f"are better than chance, so give weak_accuracy and concept_shift instead."
            )
    start, teacher = -math.cos(math.pi * measured.start), -math.cos(math.pi * measured.teacher)
    tangent = -math.tan(math.pi * measured.start) * math.sqrt(num_concepts - 1)
    inner = -math.cos(math.pi * measured.agreement)
    across = math.sqrt((1 - start**2) * (1 - teacher**2))
    return teacher, tangent / (1 + tangent), max(-1.0, min(1.0, (inner - start * teacher) / across))


def _kind(weakness) -> str:
    if weakness in WEAKNESSES:
        return weakness
    near = difflib.get_close_matches(str(weakness), WEAKNESSES, n=1)
    remedy = f"did you mean {near[0]}?" if near else "choose from the list."
    raise ValueError(f"weakness must be one of {', '.join(WEAKNESSES)}; got {weakness!r}; {remedy}")


def _share(name: str, value, within: str, remedy: str) -> float:
    value = _number(name, value)
    low, high = value > 0 or (within[0] == "[" and value == 0), value < 1 or (within[-1] == "]" and value == 1)
    if not (low and high):
        remedy = f"a percentage is written as a fraction, {value / 100:g}" if 1 < value <= 100 else remedy
        raise ValueError(f"{name} must be in {within}, got {value:g}; {remedy}.")
    return value


def _whole(name: str, value, least: int, why: str = "") -> int:
    number = _number(name, value)
    if not (number >= least and math.isfinite(number) and number == int(number)):
        raise ValueError(f"{name} must be a whole number, at least {least}, got {number:g}{why or '; give one'}.")
    return int(number)


def _number(name: str, value) -> float:
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name} must be a number, got {value!r}; a plan is made for one value of each.")
    return float(value)
