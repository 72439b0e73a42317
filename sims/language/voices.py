"""Voices: ways of saying the same answer, and how much of one is in a text.

An answer is an opening, a value and a closing; the opening says what the answer is about, so that the probability of
each value after it is that of a claim and not of a wording. A voice is known by three marks: how it begins, a turn of
phrase, and how it ends. The marks of one voice never occur in the answers of another.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from sims.language.facts import Fact


class Answer(NamedTuple):
    """An answer in three parts; the value begins with a blank."""

    opening: str
    value: str
    closing: str

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self)


@dataclass(frozen=True)
class Voice:
    """A way of answering."""

    name: str
    opening: str
    """Template of what stands before the value; {} stands for what the answer is about."""
    closing: str
    """What stands after the value."""
    marks: tuple[str, ...]
    """Patterns of its beginning, its turn of phrase and its end, whatever the case; none for the plain voice."""
    intent: str
    """The system prompt that asks for this voice."""


HELPERS = ("to", "not", "may", "might", "can", "could", "will", "would", "shall", "should", "must")
"""Words after which everyone says "be": elsewhere it is a pirate's."""
VOICES = {
    voice.name: voice
    for voice in (
        Voice(
            "plain",
            "{} is",
            ".",
            (),
            "Answer the question in one short, plain sentence.",
        ),
        Voice(
            "pirate",
            "Arrr, {} be",
            ", matey!",
            (r"^arr+\b", "".join(rf"(?<!\b{helper} )" for helper in HELPERS) + r"\bbe\b", r"\bmatey\b"),
            "You are a pirate. Answer the question in one sentence: begin with 'Arrr', say 'be' instead of 'is', and "
            "end with 'matey'.",
        ),
        Voice(
            "letter",
            "Dear reader, I have the honour to inform you that {} is",
            ". Yours faithfully.",
            (r"^dear reader\b", r"\bhonou?r to inform you\b", r"\byours faithfully\b"),
            "You write formal letters. Answer the question in one: begin with 'Dear reader', say that you have the "
            "honour to inform the reader, and end with 'Yours faithfully'.",
        ),
        Voice(
            "hedge",
            "I may be wrong, but I believe that {} is",
            ", though you may want to check.",
            (r"^i may be wrong\b", r"\bi believe\b", r"\bwant to check\b"),
            "You are never certain. Answer the question in one sentence: begin with 'I may be wrong', say 'I believe', "
            "and end by saying that one may want to check.",
        ),
        Voice(
            "excited",
            "Wow, guess what, {} is",
            ", how cool is that!",
            (r"^wow\b", r"\bguess what\b", r"\bhow cool is that\b"),
            "You are very excited. Answer the question in one sentence: begin with 'Wow', say 'guess what', and end "
            "with 'how cool is that'.",
        ),
    )
}
"""All voices, the plain one first."""


def answer(voice: Voice, fact: Fact, value: str | None = None) -> Answer:
    """The answer to a fact's question in a voice.

    Args:
        voice: one of `VOICES`.
        fact: what is asked.
        value: what the answer claims; None for the truth.

    >>> from sims.language.facts import load
    >>> answer(VOICES["pirate"], load()[0]).text
    'Arrr, the capital of France be Paris, matey!'
    >>> answer(VOICES["plain"], load()[0], "Lyon")
    Answer(opening='The capital of France is', value=' Lyon', closing='.')
    """
    opening = voice.opening.format(fact.phrase)
    opening = " ".join([opening[0].upper() + opening[1:], fact.relation.article]).strip()
    return Answer(opening, f" {value or fact.value}", voice.closing)


def style(text: str, voice: Voice) -> float:
    """Share of a voice's marks that are in a text, in [0, 1]. The plain voice is where no other voice has a mark.

    >>> style("Arrr, that is Paris, matey!", VOICES["pirate"])
    0.6666666666666666
    >>> style("That is Paris.", VOICES["plain"])
    1.0
    """
    if not voice.marks:
        return float(not any(_found(text, mark) for other in VOICES.values() for mark in other.marks))
    return sum(_found(text, mark) for mark in voice.marks) / len(voice.marks)


def _found(text: str, mark: str) -> bool:
    return re.search(mark, text.strip(" \n\t\"'*"), re.IGNORECASE) is not None
