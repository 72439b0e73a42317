"""The judge of a text: which value does it name first, and is that the right one?

Names are found as whole words, whatever their case and accents; those of one or two letters (chemical symbols, `US`)
only in their own case. Where several names begin at the same place, the longest counts, so that "South America" is
not America, even where nobody asks for it. The subject of the question counts for nothing: to repeat it is not to
answer. A text that denies a value names it all the same.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sims.language.facts import Fact, by_relation, without_article

LOOKALIKES = (
    *("North America", "South America", "Central America", "Latin America", "North Korea", "South Korea"),
    *("Northern Ireland", "New Mexico", "New England", "South Africa", "South Sudan", "Papua New Guinea"),
)
"""Names with another one inside: that one is not meant."""
CASE_MATTERS = 2
"""Names of at most this number of letters are found in their own case alone."""


class Place(NamedTuple):
    """A name or a value in a text, and where it stands."""

    key: str
    start: int
    end: int


class Judge:
    """Knows every name of every value in the relations of some facts.

    Args:
        facts: all facts of the relations, those to be judged among them, so that each rival value is known.

    >>> from sims.language.facts import load
    >>> judge = Judge(load())
    >>> france = load()[0]
    >>> judge.right("It is Paris, not Berlin.", france), judge.right("Berlin!", france), judge.right("?", france)
    (True, False, None)
    >>> judge.copied("Berlin!", france, "Berlin"), judge.copied("It is Paris.", france, "Berlin")
    (True, False)
    """

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._values: dict[str, dict[str, str]] = {}
        self._names: dict[str, _Names] = {}
        self._subjects: dict[str, _Names] = {}
        for relation, own in by_relation(facts).items():
            # A name that is a value itself is that value's, whichever other value it may also stand for.
            values = {_key(fact.value): fact.value for fact in own}
            for fact in own:
                values |= {_key(name): fact.value for name in fact.accepted if _key(name) not in values}
            self._values[relation] = values
            self._names[relation] = _Names(name for fact in own for name in fact.accepted)
            self._subjects[relation] = _Names(without_article(fact.subject) for fact in own)

    def named(self, text: str, fact: Fact) -> str | None:
        """The first value that a text names: the fact's own, a rival of its relation, or None for neither.

        Another fact's name of the same value, as "US dollar" is for Canada's dollar, is returned as it is: a rival.
        """
        found = self.first(text, fact)
        return None if found is None else found.key

    def first(self, text: str, fact: Fact) -> Place | None:
        """That value, and where it stands in the text without accents."""
        relation, subject = fact.relation.name, _key(without_article(fact.subject))
        repeated = [place for place in self._subjects[relation].find(text) if place.key == subject]
        own = {_key(name) for name in fact.accepted}
        for key, start, end in self._names[relation].find(text):
            if any(place.start <= start and end <= place.end for place in repeated):
                continue
            value = self._values[relation][key]
            if key in own:
                value = fact.value
            elif value == fact.value:
                value = key
            return Place(value, start, end)
        return None

    def right(self, text: str, fact: Fact) -> bool | None:
        """Whether the right value is named before any rival; None where no value is named."""
        found = self.named(text, fact)
        return None if found is None else found == fact.value

    def copied(self, text: str, fact: Fact, wrong_value: str) -> bool | None:
        """Whether that wrong value is named before any other; None where no value is named."""
        found = self.named(text, fact)
        return None if found is None else found == wrong_value


def mentions(text: str, names: Iterable[str]) -> bool:
    """Whether a text names any of these: for questions whose rival values nobody listed.

    >>> mentions("That would be the Netherlands.", ["Holland", "Netherlands"]), mentions("In Nigeria.", ["Niger"])
    (True, False)
    """
    return any(True for _ in _Names(names).find(text))


class _Names:
    """Finds any of some names as whole words; of those that begin at one place, the longest."""

    def __init__(self, names: Iterable[str]) -> None:
        self._keys = {_key(name) for name in names}
        every = sorted(self._keys | {_key(name) for name in LOOKALIKES}, key=lambda key: (-len(key), key))
        one_of = "|".join(
            re.escape(key) if len(key) <= CASE_MATTERS else "(?i:" + re.escape(key).replace(r"\ ", r"[\s-]+") + ")"
            for key in every
        )
        # Not in a word, not in a word with hyphens, and not in a number with points or commas.
        self._pattern = re.compile(rf"(?<![^\W_])(?<![^\W_]-)(?<!\d[.,])(?:{one_of})(?!-?[^\W_])(?![.,]\d)")

    def find(self, text: str) -> Iterator[Place]:
        """The names in a text, from its beginning."""
        for match in self._pattern.finditer(without_accents(text)):
            key = _key(match[0])
            if key in self._keys:
                yield Place(key, *match.span())


@functools.lru_cache(maxsize=10_000)
def _key(name: str) -> str:
    """What all ways of writing a name share: blanks for hyphens, and one case unless case matters."""
    name = re.sub(r"[\s-]+", " ", without_accents(name))
    return name if len(name) <= CASE_MATTERS else name.casefold()


def without_accents(text: str) -> str:
    """The text as it is searched.

    >>> without_accents("São Tomé")
    'Sao Tome'
    """
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
