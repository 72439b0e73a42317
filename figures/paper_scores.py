"""The scores that were published with the paper, as data: what it measured on language models, by its judges."""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FILE = Path(__file__).with_suffix(".json")


class Score(NamedTuple):
    """Mean scores of one model over the questions of a test set, with their standard errors; NaN where not published.

    `method` is one of ours: weak (the teacher), source (the strong model at zero shots), naive_ft, icl_refine,
    intent_refine, self_refine (the paper's Ask-to-Improve). `strong_model` is empty for a teacher, `weak_model` where
    no teacher is named.
    """

    task: str
    test_set: str
    method: str
    strong_model: str
    weak_model: str
    content: float
    content_sem: float
    style: float
    style_sem: float
    num_questions: int


@cache
def published(task: str) -> tuple[Score, ...]:
    """All published scores of a task: persona, explanation, bias or math.

    Reference: Somerstep et al., ICLR 2025, arXiv 2405.16236.

    >>> len(published("math")), published("math")[0].content
    (15, 0.7834)
    """
    rows = [Score(*(np.nan if value is None else value for value in row)) for row in _file()["rows"]]
    return tuple(row for row in rows if row.task == task)


def scale(task: str, score: str) -> tuple[float, float] | None:
    """The lowest and the highest value of a judge's score, `content` or `style`; None where none was published.

    >>> scale("persona", "style"), scale("math", "style")
    ((1, 10), None)
    """
    found = _file()["scales"][task].get(score)
    return tuple(found) if found else None


@cache
def _file() -> dict[str, Any]:
    return json.loads(FILE.read_text())
