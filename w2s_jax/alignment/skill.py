"""The unrelated skill that every world also has: two letters, to be repeated in reverse order."""

from itertools import permutations

import numpy as np
from jaxtyping import Int

LETTERS = tuple("abcdefghij")
"""Its words, ids from `first` on; the last word of its own is BLANK, which fills a question up."""
BLANK = "_"
WORDS = (*LETTERS, BLANK)


def make_skill(
    first: int, question_length: int, answer_length: int
) -> tuple[Int[np.ndarray, "S q"], Int[np.ndarray, "S a"]]:
    """Questions and answers of the skill.

    Args:
        first: token of its first word; `WORDS` follow one another from there.
        question_length: >= 2.
        answer_length: >= 3.
    """
    pairs = np.array(list(permutations(range(len(LETTERS)), 2)))
    questions = np.full((len(pairs), question_length), first + len(LETTERS))
    answers = np.zeros((len(pairs), answer_length), int)
    questions[:, :2], answers[:, :2] = first + pairs, first + pairs[:, ::-1]
    return questions, answers
