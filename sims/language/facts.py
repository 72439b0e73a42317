"""Real facts: questions that have one short answer, by relation, and how they are divided.

A fact is addressed by its relation and its subject, and every draw about it is a hash of a seed and that address. So a
fact keeps its draws whatever other facts there are, and in whatever order they stand.

    development facts:  the share DEVELOPMENT; learning rates, contexts and relations are chosen on these alone
    reported facts:     all others; each seed divides them again, into those that a teacher labels and those held out
"""

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sims.engine.checked import InputError, check_one
from sims.engine.files import read_text
from sims.engine.names import suggest
from sims.language.records import check_fields, text, texts

DEVELOPMENT = 1 / 3
"""Expected share of the facts that are for development."""
SHIPPED = Path(__file__).with_name("facts.json")


@dataclass(frozen=True)
class Relation:
    """What facts of one kind share."""

    name: str
    question: str
    """Template of the question; {} stands for the subject."""
    phrase: str
    """Template of the noun phrase that an answer is about, singular; {} stands for the subject."""
    article: str = ""
    """What stands before every value of this relation in a sentence, and belongs to none."""


@dataclass(frozen=True)
class Fact:
    """A subject, and its value in a relation.

    >>> capital = Relation("capital", "What is the capital of {}?", "the capital of {}")
    >>> fact = Fact(capital, "Ukraine", "Kyiv", ("Kiev",))
    >>> fact.question, fact.phrase, fact.accepted
    ('What is the capital of Ukraine?', 'the capital of Ukraine', ('Kyiv', 'Kiev'))
    """

    relation: Relation
    subject: str
    value: str
    also: tuple[str, ...] = ()
    """Other spellings and names of the value."""

    @property
    def question(self) -> str:
        """The question as it is asked."""
        return self.relation.question.format(self.subject)

    @property
    def phrase(self) -> str:
        """What an answer is about."""
        return self.relation.phrase.format(self.subject)

    @property
    def accepted(self) -> tuple[str, ...]:
        """Everything that names the value, the value itself first; an article in front may be left out."""
        spellings = (self.value, *self.also)
        return tuple(dict.fromkeys((*spellings, *map(without_article, spellings))))

    @property
    def address(self) -> tuple[str, str]:
        """Relation and subject: the text that draws about this fact are addressed by."""
        return self.relation.name, self.subject


def load(path: str | Path | None = None) -> tuple[Fact, ...]:
    """The facts of a file, in its order.

    Args:
        path: a JSON file {"relations": {name: {"question", "phrase", "article"}}, "facts": [{"relation", "subject",
            "value", "also"}, ...]}, where `article` and `also` may be left out; None for the facts of the sweep.

    Raises:
        InputError: naming the record, if the file has none, or one that is incomplete, of an unknown relation, or there
            twice; or if a subject names its own value, so that to repeat the question would be to answer it.

    >>> facts = load()
    >>> facts[0].question, facts[0].value
    ('What is the capital of France?', 'Paris')
    """
    return _shipped() if path is None else _read(Path(path))


@functools.cache
def _shipped() -> tuple[Fact, ...]:
    """The facts of the sweep, read once: every specification asks for them."""
    return _read(SHIPPED)


def _read(path: Path) -> tuple[Fact, ...]:
    try:
        whole = json.loads(read_text(path))
    except ValueError as error:
        raise InputError(f"{path} must be JSON, got something else: {error}; correct that place.") from error
    check_fields(str(path), whole, ("relations", "facts"))
    if not isinstance(whole["relations"], dict) or not isinstance(whole["facts"], list) or not whole["facts"]:
        raise InputError(f"{path} must hold an object of relations and a list of one or more facts; write both.")
    relations = {name: _relation(f"{path}, relation {name!r}", name, held) for name, held in whole["relations"].items()}
    facts: dict[str, Fact] = {}
    for number, held in enumerate(whole["facts"], 1):
        where = f"{path}, fact {number}"
        fact = _fact(where, held, relations)
        if facts.setdefault(fact.question.casefold(), fact) is not fact:
            raise InputError(f"{where} must ask a new question, got {fact.question!r} again; remove one of the two.")
    return tuple(facts.values())


def _relation(where: str, name: str, held: Any) -> Relation:
    check_fields(where, held, ("question", "phrase"), ("article",))
    fields = {field: text(where, held, field) for field in held}
    for field in ("question", "phrase"):
        holds = fields[field].count("{}") == 1 and fields[field].count("{") == fields[field].count("}") == 1
        remedy = "put it where the subject stands"
        check_one(f"{where}, field {field},", repr(fields[field]), holds, "text with one {}", remedy)
    return Relation(name, **fields)


def _fact(where: str, held: Any, relations: dict[str, Relation]) -> Fact:
    check_fields(where, held, ("relation", "subject", "value"), ("also",))
    name, subject, value = (text(where, held, field) for field in ("relation", "subject", "value"))
    if name not in relations:
        raise InputError(f"{where} must be of a known relation, got {name!r}; {suggest(name, list(relations))}")
    fact = Fact(relations[name], subject, value, texts(where, held, "also") if "also" in held else ())
    if without_article(subject).casefold() in [spelling.casefold() for spelling in fact.accepted]:
        raise InputError(f"{where} must have a subject that does not name its value, got {subject!r}; leave it out.")
    return fact


def split(facts: Iterable[Fact], seed: int = 0) -> tuple[list[Fact], list[Fact]]:
    """Development and reported facts: about 1 : 2 in every relation. Adding facts moves none.

    >>> development, reported = split(load())
    >>> len(reported) > len(development) > 300
    True
    """
    parts: tuple[list[Fact], list[Fact]] = ([], [])
    for fact in facts:
        parts[draw(seed, "split", *fact.address) >= DEVELOPMENT].append(fact)
    return parts


def by_relation(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    """The facts of each relation, in their order."""
    found: dict[str, list[Fact]] = {}
    for fact in facts:
        found.setdefault(fact.relation.name, []).append(fact)
    return found


def values_of(facts: Iterable[Fact]) -> dict[str, tuple[str, ...]]:
    """The distinct values of each relation, in alphabetical order."""
    return {name: tuple(sorted({fact.value for fact in own})) for name, own in by_relation(facts).items()}


def draw(seed: int, *address: str) -> float:
    """A uniform draw in [0, 1) with an address: no two addresses share one, and it never changes.

    >>> draw(0, "split", "capital", "France") == draw(0, "split", "capital", "France")
    True
    """
    digest = hashlib.sha256("\0".join((str(seed), *address)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def without_article(name: str) -> str:
    """A name without "the" in front.

    >>> without_article("the Netherlands"), without_article("Thebes")
    ('Netherlands', 'Thebes')
    """
    return name.removeprefix("the ")
