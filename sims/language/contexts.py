"""Weak examples for the context of the strong model: balanced over relations, and never of the question asked.

Questions that the teacher labelled are dealt into groups. A group's context holds examples of the other groups alone
(leave one group out), so that no answer is copied from the label that it is to replace; all questions of a group share
it, and the model reads it once for them. Examples come from as many relations as there are, in equal numbers, because
a relation that no example shows is answered in the form of one that is shown.
"""

from collections.abc import Sequence

from sims.language.facts import Fact, by_relation, draw


def groups_of(facts: Sequence[Fact], number: int, seed: int) -> list[list[int]]:
    """Places of the facts, dealt into that number of groups of nearly equal size, relation by relation.

    Args:
        facts: those that are labelled.
        number: of groups, >= 2.
        seed: of the draw.

    >>> from sims.language.facts import load
    >>> [len(group) for group in groups_of(load()[:10], 4, seed=0)]
    [3, 3, 2, 2]
    """
    places = {fact.address: place for place, fact in enumerate(facts)}
    order = [
        places[fact.address]
        for own in by_relation(facts).values()
        for fact in sorted(own, key=lambda fact: draw(seed, "group", *fact.address))
    ]
    return [sorted(order[start::number]) for start in range(number)]


def context_of(facts: Sequence[Fact], allowed: Sequence[int], num_icl: int, seed: int, *words: str) -> list[int]:
    """Places of the examples of one context, in the order in which they stand in it.

    Relations take turns, in an order drawn for the context, until there are `num_icl` examples; the first examples of
    a longer context are those of a shorter one.

    Args:
        facts: those that are labelled.
        allowed: places of those that may be examples.
        num_icl: examples, at least 1 and at most as many as are allowed.
        seed, words: address of the draw.

    >>> from sims.language.facts import load
    >>> facts = load()
    >>> len({facts[place].relation.name for place in context_of(facts, range(len(facts)), 4, 0, "group", "1")})
    4
    """
    places: dict[str, list[int]] = {}
    for place in allowed:
        places.setdefault(facts[place].relation.name, []).append(place)
    for own in places.values():
        own.sort(key=lambda place: draw(seed, "example", *words, *facts[place].address))
    turns = sorted(places, key=lambda name: draw(seed, "turn", *words, name))
    chosen: list[int] = []
    while len(chosen) < num_icl and any(places.values()):
        for name in turns:
            if places[name] and len(chosen) < num_icl:
                chosen.append(places[name].pop(0))
    return chosen
