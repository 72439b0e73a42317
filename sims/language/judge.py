"""The judge of a text: which value does it name first, and is that the right one?

Names are found as whole words, whatever their case and accents; those of one or two letters (chemical symbols, `US`)
only in their own case. Where several names begin at the same place, the longest counts, so that "South America" is
not America; neither is it where a word like "South" stands in front of a name that is sought without it. The subject of
the question counts for nothing: to repeat it is not to answer. A text that denies a value names it all the same.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from sims.language.facts import Fact, by_relation, without_article

APART = ("New", "Old", "North", "South", "East", "West", "Northern", "Southern", "Central", "Latin")
"""Words that make another name of the one that follows: New Mexico is not Mexico."""
CASE_MATTERS = 2
"""Names of at most this number of letters are found in their own case alone."""


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
        self._patterns: dict[str, re.Pattern] = {}
        self._subjects: dict[str, re.Pattern] = {}
        for relation, own in by_relation(facts).items():
            # A name that is a value itself is that value's, whichever other value it may also stand for.
            values = {_key(fact.value): fact.value for fact in own}
            for fact in own:
                values |= {_key(name): fact.value for name in fact.accepted if _key(name) not in values}
            self._values[relation] = values
            self._patterns[relation] = _pattern(name for fact in own for name in fact.accepted)
            self._subjects[relation] = _pattern(without_article(fact.subject) for fact in own)

    def named(self, text: str, fact: Fact) -> str | None:
        """The first value that a text names: the fact's own, a rival of its relation, or None for neither."""
        text = _folded(text)
        subject = _key(without_article(fact.subject))
        subjects = _found(self._subjects[fact.relation.name], text)
        repeated = [match.span() for match in subjects if _key(match[0]) == subject]
        for match in _found(self._patterns[fact.relation.name], text):
            if any(start <= match.start() and match.end() <= end for start, end in repeated):
                continue
            name = _key(match[0])
            if name in map(_key, fact.accepted):
                return fact.value
            value = self._values[fact.relation.name][name]
            # Another's name of the same value, as the US dollar is for Canada's dollar, is not this fact's.
            return match[0] if value == fact.value else value
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
    return any(_found(_pattern(names), _folded(text)))


def _folded(text: str) -> str:
    """A text without accents."""
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _key(name: str) -> str:
    """What all ways of writing a name share: blanks for hyphens, and one case unless case matters."""
    name = re.sub(r"[\s-]+", " ", _folded(name))
    return name if len(name) <= CASE_MATTERS else name.casefold()


def _pattern(names: Iterable[str]) -> re.Pattern:
    """Any of these names as whole words; of those at one place, the longest."""
    keys = sorted({_key(name): None for name in names}, key=lambda key: (-len(key), key))
    one_of = "|".join(
        re.escape(key) if len(key) <= CASE_MATTERS else "(?i:" + re.escape(key).replace(r"\ ", r"[\s-]+") + ")"
        for key in keys
    )
    apart = "|".join(APART)
    # Lazily, so that a name that begins with one of those words is found as itself.
    return re.compile(rf"(?<![^\W_])(?<![^\W_]-)(?<!\d[.,])(?P<apart>(?:{apart}) )??(?:{one_of})(?!-?[^\W_])(?![.,]\d)")


def _found(pattern: re.Pattern, text: str) -> Iterator[re.Match]:
    """The names in a text, from its beginning."""
    return (match for match in pattern.finditer(text) if not match["apart"])
