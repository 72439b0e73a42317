"""What is asked, and everything that is said of it in one voice: by the teachers, and by who knows the answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sims.language.facts import Fact, Relation, load, split
from sims.language.judge import Judge, without_accents
from sims.language.own import OwnQuestion, read_own
from sims.language.spec import OWN, LanguageSpec
from sims.language.teachers import weak_answers, wrong_values
from sims.language.voices import VOICES, Voice, answer

Said = list[list[str]]
"""Texts or values by teacher and fact."""
TEACHER = "teacher"
"""What the weaker model's own answers are filed under, beside those of the methods that combine models."""


class Teaching(NamedTuple):
    """Facts that may be asked, and answers to them in one voice."""

    facts: tuple[Fact, ...]
    judge: Judge
    """Knows all values of these facts, and of the unrelated skill."""
    voice: Voice
    said: Callable[[Sequence[Fact], int], Said]
    """(facts, seed) -> the whole answer of each teacher."""
    wrong: Callable[[Sequence[Fact], int], Said]
    """(facts, seed) -> the wrong value that each teacher has for a fact, whether or not it knows the right one."""
    true: Callable[[Fact], str]
    """The right answer in this voice."""
    plain: Callable[[Fact], str]
    """The right answer in the model's own voice."""
    openings: Callable[[Fact], tuple[str, str]]
    """What stands before the value in this voice and in the model's own."""
    combined: Callable[[Sequence[Fact]], Said] = lambda asked: []
    """Answers by method that combines models, and fact."""
    gap: str = " "
    """What stands between opening and value."""


def shipped_facts(spec: LanguageSpec, *relations: str, asked: bool = True) -> list[Fact]:
    """Facts of these relations that a sweep may ask, or, for the training of a weaker model, those that it may not."""
    reported = (spec.facts == "reported") == asked
    return [fact for fact in split(load())[reported] if fact.relation.name in relations]


def in_voice(
    spec: LanguageSpec, name: str, weaker: Mapping[str, Mapping[tuple[str, str], str]] | None = None
) -> Teaching:
    """The shipped facts, asked and answered in a voice of the list.

    Args:
        spec: the sweep.
        name: of the voice.
        weaker: answers of the weaker model and of those that combine it, by name and address of each fact; None where
            there is none.
    """
    voice, facts, judge = VOICES[name], shipped_facts(spec, *spec.relations), Judge(load())
    texts_of = weaker or {}

    def said(asked: Sequence[Fact], seed: int) -> Said:
        claims = [weak_answers(asked, capability, seed, facts) for capability in spec.capability]
        texts = [[answer(voice, *pair).text for pair in zip(asked, each)] for each in claims]
        return [*texts, *from_models(asked, (TEACHER,) * bool(weaker))]

    def from_models(asked: Sequence[Fact], names: Sequence[str]) -> Said:
        return [[texts_of[name][fact.address] for fact in asked] for name in names]

    def wrong(asked: Sequence[Fact], seed: int) -> Said:
        drawn = wrong_values(asked, seed, facts)
        found = [drawn] * len(spec.capability)
        return [*found, _wrong_of(judge, asked, texts_of[TEACHER], drawn)] if weaker else found

    return Teaching(
        facts=tuple(facts),
        judge=judge,
        voice=voice,
        said=said,
        wrong=wrong,
        true=lambda fact: answer(voice, fact).text,
        plain=lambda fact: answer(VOICES["plain"], fact).text,
        openings=lambda fact: (answer(voice, fact).opening, answer(VOICES["plain"], fact).opening),
        combined=lambda asked: from_models(asked, spec.combined) if weaker else [],
    )


def of_own(spec: LanguageSpec) -> Teaching:
    """The user's own questions. Their voice is unknown, so values are asked for as the first words of an answer.

    Right answers are the teacher's with the value that it names put right; where it names none, the value alone.
    """
    asked_of = {_as_fact(own): own.weak_answer for own in read_own(spec.questions)}
    facts = tuple(asked_of)
    judge = Judge([*facts, *load()])
    texts = {fact.address: text for fact, text in asked_of.items()}

    def true(fact: Fact) -> str:
        text, named = texts[fact.address], judge.first(texts[fact.address], fact)
        if named is not None and named.key == fact.value:
            return text
        if named is None or len(without_accents(text)) != len(text):
            return f"{fact.value}."
        return text[: named.start] + fact.value + text[named.end :]

    return Teaching(
        facts=facts,
        judge=judge,
        voice=Voice(OWN, "", "", (), spec.intent),
        said=lambda asked, seed: [[texts[fact.address] for fact in asked]],
        wrong=lambda asked, seed: [_wrong_of(judge, asked, texts, wrong_values(asked, seed, facts))],
        true=true,
        plain=lambda fact: f"{fact.value}.",
        openings=lambda fact: ("", ""),
        gap="",
    )


def _wrong_of(
    judge: Judge, asked: Sequence[Fact], texts: Mapping[tuple[str, str], str], drawn: Sequence[str]
) -> list[str]:
    """The wrong value that each text names; where it names none, the value that was drawn."""
    named = [judge.named(texts[fact.address], fact) for fact in asked]
    return [other if value in (None, fact.value) else value for fact, value, other in zip(asked, named, drawn)]


def _as_fact(own: OwnQuestion) -> Fact:
    value, *also = own.accepted
    return Fact(Relation(OWN, "{}", "{}"), own.question, value, tuple(also))
