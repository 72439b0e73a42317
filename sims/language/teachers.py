"""The synthetic weak teacher: it knows a share of the facts, and has a fixed wrong value for each of the others."""

from collections.abc import Iterable, Sequence

from sims.engine.checked import InputError, check_one
from sims.language.facts import Fact, draw, values_of


def wrong_values(facts: Sequence[Fact], seed: int, among: Iterable[Fact] | None = None) -> list[str]:
    """A wrong value for each fact: another value of its relation, uniformly drawn, the same whenever it is asked.

    Each rival has a draw of its own and the least wins. So a value that is added changes only those that it wins.

    Args:
        facts: to be wrong about.
        seed: of the draws.
        among: facts whose values may be claimed; None for the same facts.

    Returns:
        A value for each fact, in their order; never one that names the right value.

    Raises:
        InputError: if a relation has no other value.

    >>> from sims.language.facts import load
    >>> france, germany = load()[:2]
    >>> wrong_values([france, germany], seed=0)
    ['Berlin', 'Paris']
    """
    values = values_of(facts if among is None else among)
    return [_wrong_value(fact, values.get(fact.relation.name, ()), seed) for fact in facts]


def _wrong_value(fact: Fact, values: tuple[str, ...], seed: int) -> str:
    right = {name.casefold() for name in fact.accepted}
    rivals = [value for value in values if value.casefold() not in right]
    if not rivals:
        raise InputError(
            f"relation {fact.relation.name} must have two values or more for a teacher to be wrong, got {fact.value!r} "
            f"alone; leave it out."
        )
    return min(rivals, key=lambda rival: draw(seed, "wrong", *fact.address, rival))


def weak_answers(facts: Sequence[Fact], capability: float, seed: int, among: Iterable[Fact] | None = None) -> list[str]:
    """What a teacher claims of each fact: the truth for round(capability n) of n facts, a wrong value for the others.

    Under one seed, what a teacher knows a more capable one knows too, and what both do not know they believe alike.

    Args:
        facts: that it is asked.
        capability: share of them that it knows, in [0, 1].
        seed: of the draws.
        among: facts whose values it may claim; None for the same facts.

    Raises:
        InputError: if the capability is outside its range, or a relation has a single value.

    >>> from sims.language.facts import load
    >>> facts = load()[:10]
    >>> sum(claim == fact.value for claim, fact in zip(weak_answers(facts, 0.3, seed=0), facts))
    3
    """
    check_one("capability", capability, 0 <= capability <= 1, "in [0, 1]", "try 0.5")
    order = sorted(facts, key=lambda fact: draw(seed, "known", *fact.address))
    known = {fact.address for fact in order[: round(capability * len(order))]}
    wrong = wrong_values(facts, seed, among)
    return [fact.value if fact.address in known else claim for fact, claim in zip(facts, wrong)]
