"""The user's own questions, with the answers of their own teacher: a JSONL file, a question a line.

    {"question": "What is the capital of France?", "weak_answer": "Paris, I think.", "accepted": ["Paris"]}

`weak_answer` is the teacher's whole answer, right or wrong, in the voice to be learnt; `accepted` lists everything that
names the right value, and is for scoring alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from sims.engine.checked import InputError
from sims.engine.files import read_text
from sims.language.judge import mentions
from sims.language.records import check_fields, text, texts

FIELDS = ("question", "weak_answer", "accepted")


@dataclass(frozen=True)
class OwnQuestion:
    """A question of the user's.

    >>> OwnQuestion("What is the capital of France?", "Paris, I think.", ("Paris",)).teacher_is_right
    True
    """

    question: str
    weak_answer: str
    accepted: tuple[str, ...]

    @property
    def teacher_is_right(self) -> bool:
        """Whether the weak answer names an accepted value."""
        return mentions(self.weak_answer, self.accepted)


def read_own(path: str | Path) -> list[OwnQuestion]:
    """The questions of a JSONL file, in its order; blank lines are skipped.

    Raises:
        InputError: naming the line and the field, if the file cannot be read, holds no question, a line that is no JSON
            object of the three fields, or a question twice.
    """
    path = Path(path)
    found: dict[str, OwnQuestion] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where} must be one JSON object, got something else: {error}; correct it.") from error
        check_fields(where, record, FIELDS)
        question, weak_answer = (text(where, record, field) for field in FIELDS[:2])
        own = OwnQuestion(question, weak_answer, texts(where, record, "accepted"))
        key = " ".join(own.question.casefold().split())
        if key in found:
            raise InputError(f"{where} must ask a new question, got that of line {lines[key]}; remove one of the two.")
        found[key], lines[key] = own, number
    if not found:
        raise InputError(f"{path} must hold at least one question, got none; write one a line.")
    return list(found.values())
