"""A seed of the sweep as tokens: its questions, what teachers answer, contexts, and values that could be claimed.

All of this is text, so it is made before the program that runs on the devices, in arrays of one shape for all seeds.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from sims.engine.checked import InputError, check_one
from sims.language.contexts import context_of, groups_of
from sims.language.facts import Fact, by_relation, draw, values_of
from sims.language.prompts import Rows, Turns, answer_tokens, conversation, rows_of, split_shared
from sims.language.spec import LanguageSpec
from sims.language.teaching import Teaching, shipped_facts
from w2s_jax.checkpoints import Checkpoint

PROBES = ("A", "b")
"""Two questions that begin differently: what their conversations share is what stands before any question."""


class Division(NamedTuple):
    """The questions of a seed."""

    train: list[Fact]
    """Group after group."""
    held_out: list[Fact]
    skill: list[Fact]

    @property
    def asked(self) -> list[Fact]:
        """All of them, in this order."""
        return [*self.train, *self.held_out, *self.skill]


class Table(NamedTuple):
    """One seed and voice as tokens, or with a leading axis those of all seeds."""

    prefix: np.ndarray
    """`[P]`: what stands before a question."""
    intent: Rows
    """The same under a system prompt that asks for the voice, one row."""
    asked: Rows
    """Each question, up to where it is answered `[Q L]`."""
    openings: tuple[Rows, Rows]
    """Questions that are held out with the opening of an answer, in this voice and in plain words `[H L]`."""
    values: Rows
    """Values that could be claimed of each: the right one, the first teacher's wrong one, others `[H V Lv]`."""
    true: tuple[Rows, Rows]
    """Right answers to the questions to train on, in this voice and in plain words `[n A]`."""
    weak: Rows
    """What the teachers answer `[C n A]`."""
    combined: tuple[Rows, ...]
    """What models that write together answer `[n A]`, by method."""
    contexts: Rows
    """What stands before the questions of a group with examples `[C I G Lc]`."""
    again: Rows
    """Each question asked again after the teacher's answer to it `[C n L]`."""


def divide(spec: LanguageSpec, world: Sequence[Fact], seed: int) -> Division:
    """The questions of a seed, out of all that may be asked.

    Raises:
        InputError: if there are too few facts.
    """
    skill, need = shipped_facts(spec, spec.skill), spec.train_questions + spec.held_out_questions
    rule = f"such that with held_out_questions they are at most the {len(world)} that may be asked"
    check_one("train_questions", spec.train_questions, need <= len(world), rule, "ask fewer, or more relations")
    rule = f"at most the {len(skill)} {spec.facts} facts of {spec.skill}"
    check_one("skill_questions", spec.skill_questions, spec.skill_questions <= len(skill), rule, "ask fewer")
    order = _balanced(world, seed)
    train = order[: spec.train_questions]
    grouped = [train[place] for group in groups_of(train, spec.groups, seed) for place in group]
    asked = sorted(skill, key=lambda fact: draw(seed, "skill", *fact.address))
    return Division(grouped, order[spec.train_questions : need], asked[: spec.skill_questions])


def _balanced(facts: Sequence[Fact], seed: int) -> list[Fact]:
    """Facts in an order whose every beginning holds about the same share of each relation."""
    keyed = []
    for own in by_relation(facts).values():
        ordered = sorted(own, key=lambda fact: draw(seed, "divide", *fact.address))
        keyed += [((place + 0.5) / len(own), fact.address, fact) for place, fact in enumerate(ordered)]
    return [fact for *_, fact in sorted(keyed, key=lambda each: each[:2])]


def make_table(spec: LanguageSpec, checkpoint: Checkpoint, teaching: Teaching, seed: int) -> Table:
    """Everything of one seed and voice, as rows of their own lengths; `stacked` gives those of several one shape."""
    division = divide(spec, teaching.facts, seed)
    prefix = _before(checkpoint)
    questions = {fact.address: _own(checkpoint, prefix, fact.question) for fact in division.asked}
    weak = teaching.said(division.train, seed)

    def written(texts: Iterable[str]) -> Rows:
        return rows_of([answer_tokens(checkpoint, text) for text in texts])

    def opened(which: int) -> Rows:
        texts = [teaching.openings(fact)[which] for fact in division.held_out]
        pairs = zip(division.held_out, texts)
        return rows_of([questions[fact.address] + checkpoint.tokenizer.encode(text) for fact, text in pairs])

    def example(place: int, texts: Sequence[str]) -> tuple[str, str]:
        return division.train[place].question, texts[place]

    size, everyone = spec.train_questions // spec.groups, range(spec.train_questions)
    contexts, again = [], []
    for texts in weak:
        for number in spec.num_icl:
            for group in range(spec.groups):
                others = [place for place in everyone if place // size != group]
                places = context_of(division.train, others, number, seed, "group", str(group))
                turns = [example(place, texts) for place in places]
                contexts.append(_before(checkpoint, turns))
                _own(checkpoint, contexts[-1], division.train[group * size].question, turns)
        again += [
            conversation(checkpoint, fact.question, [example(place, texts)])[len(prefix) :]
            for place, fact in enumerate(division.train)
        ]
    return Table(
        prefix=np.array(prefix, np.int32),
        intent=rows_of([_before(checkpoint, system=teaching.voice.intent)]),
        asked=rows_of(list(questions.values())),
        openings=(opened(0), opened(1)),
        values=_values(spec, checkpoint, teaching, division.held_out, seed),
        true=(written(map(teaching.true, division.train)), written(map(teaching.plain, division.train))),
        weak=stacked([written(texts) for texts in weak]),
        combined=tuple(written(texts) for texts in teaching.combined(division.train)),
        contexts=_reshaped(rows_of(contexts), (len(weak), len(spec.num_icl), spec.groups)),
        again=_reshaped(rows_of(again), (len(weak), spec.train_questions)),
    )


def _before(checkpoint: Checkpoint, turns: Turns = (), system: str | None = None) -> list[int]:
    """What stands before any question."""
    return split_shared([conversation(checkpoint, probe, turns, system) for probe in PROBES])[0]


def _own(checkpoint: Checkpoint, before: list[int], question: str, turns: Turns = ()) -> list[int]:
    """The tokens of a question, after those that stand before it."""
    tokens = conversation(checkpoint, question, turns)
    if tokens[: len(before)] != before:
        raise InputError(
            f"the chat template of {checkpoint.name} must write earlier turns alike before every question, and does "
            f"not before {question!r}; choose another model."
        )
    return tokens[len(before) :]


def _values(spec: LanguageSpec, checkpoint: Checkpoint, teaching: Teaching, facts: Sequence[Fact], seed: int) -> Rows:
    """The right value, the first teacher's wrong one, and others of the relation as drawn; missing ones are empty."""
    by_name, wrong = values_of(teaching.facts), teaching.wrong(facts, seed)[0]
    lists: list[list[int]] = []
    for fact, claim in zip(facts, wrong):
        names = {name.casefold() for name in (*fact.accepted, claim)}
        others = [value for value in by_name[fact.relation.name] if value.casefold() not in names]
        others.sort(key=lambda value: draw(seed, "rival", *fact.address, value))
        chosen = [fact.value, claim, *others][: spec.rivals + 1]
        tokens = [checkpoint.tokenizer.encode(teaching.gap + value) for value in chosen]
        lists += tokens + [[]] * (spec.rivals + 1 - len(tokens))
    return _reshaped(rows_of(lists), (len(facts), spec.rivals + 1))


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of one structure with a new leading axis; where rows differ in length, the shorter are padded with 0."""

    def stack(*leaves: np.ndarray) -> np.ndarray:
        longest = max(leaf.shape[-1] for leaf in leaves)
        return np.stack([np.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [(0, longest - leaf.shape[-1])]) for leaf in leaves])

    return jax.tree.map(stack, *trees)


def _reshaped(rows: Rows, shape: tuple[int, ...]) -> Rows:
    """Rows `[n L]` as `[*shape L]`."""
    return Rows(rows.ids.reshape(*shape, -1), rows.lengths.reshape(shape))
