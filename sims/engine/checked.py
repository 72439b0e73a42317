"""Checked values: what a specification may hold, how it is written, and the hash that names its draws."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from sims.engine.names import nearest


class InputError(Exception):
    """Invalid input. The message names the rule, the value given and the remedy. Commands exit with code 2.

    Not a ValueError, which the command-line parser would catch as its own and print in a box.
    """


MAY_GROW = ("replicates",)
"""Fields that may change between runs on one store: more replicates extend it."""

LARGEST_COUNT = 2**31 - 1
"""Upper limit of whole numbers other than seeds: programs count in 32 bits."""


def setting(default: Any, within: str = "", remedy: str = "", **metadata: Any) -> Any:
    """A field of a specification, with what `settle` checks of it.

    Args:
        default: its value unless another is given.
        within: interval of its numbers, such as "(0, 1]", which holds 1 and not 0.
        remedy: what to do about a number outside, the last words of the message.
        metadata: choices, the names that a text may be, where its type does not list them; free=True, for a text that
            is no such name; axis=False, for a tuple that may be empty or repeat a value; network=True, where a
            pre-trained network depends on it; later=True, where stores are older than the field, which at its default
            is then no part of an identity; before, the value that such stores had, if it is not the default.
    """
    return dataclasses.field(default=default, metadata={"within": within, "remedy": remedy, **metadata})


def ends(within: str) -> tuple[float, float]:
    """The two ends of an interval.

    >>> ends("[1, inf)")
    (1.0, inf)
    """
    low, high = within[1:-1].split(",")
    return float(low), float(high)


def holds(within: str, value: float) -> bool:
    """Whether the interval holds the value.

    >>> [holds("(0, 1]", value) for value in (0, 0.5, 1, float("nan"))]
    [False, True, True, False]
    """
    low, high = ends(within)
    return low < value < high or (value == low and within[0] == "[") or (value == high and within[-1] == "]")


def to_json(spec) -> str:
    """A specification as canonical JSON; any dataclass of Python values."""
    return json.dumps(dataclasses.asdict(spec), sort_keys=True)


def from_json(kind: type, text: str):
    """The specification written by `to_json`; a missing field takes the value `before` of its metadata."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()}
    before = {f.name: f.metadata["before"] for f in dataclasses.fields(kind) if "before" in f.metadata}
    return kind(**{**before, **fields})


def identity(spec) -> str:
    """A hash of everything that decides the draws and the meaning of a store, so without `replicates`."""
    later = (f for f in dataclasses.fields(spec) if f.metadata.keys() & {"before", "later"})
    added = {field.name: field.metadata.get("before", field.default) for field in later}
    fields = {
        name: value
        for name, value in dataclasses.asdict(spec).items()
        if name not in MAY_GROW and not (name in added and value == added[name])
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


_unchecked = False


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Specifications made inside whose checks need slow imports are not checked; call their `check` afterwards."""
    global _unchecked
    before, _unchecked = _unchecked, True
    try:
        yield
    finally:
        _unchecked = before


def is_checked() -> bool:
    """Whether a specification checks itself when it is made."""
    return not _unchecked


def settle(spec: Any) -> None:
    """Make the fields of a frozen specification Python values of their types and in their ranges, or refuse them.

    Lists and arrays become tuples, NumPy's and jax's numbers Python's, whole numbers floats where those are meant, so
    that a specification can be hashed, compared and written; and counts must fit the integers of a program. Ranges and
    names are those of `setting` and of the types; a tuple is an axis, unless its setting says otherwise.
    """
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        value = value.tolist() if hasattr(value, "tolist") else value
        if get_origin(field.type) is tuple:
            if not isinstance(value, list | tuple | range):
                raise InputError(f"{field.name} must be a tuple of values, got {value!r}; put it into a tuple.")
            value = tuple(_settled(field, held, get_args(field.type)[0]) for held in value)
            if field.metadata.get("axis", True):
                check_axis(field.name, value)
        else:
            value = _settled(field, value, field.type)
        object.__setattr__(spec, field.name, value)
    size = getattr(spec, "block_size", 1)
    fits = spec.replicates + size <= LARGEST_COUNT
    most = f"at most {LARGEST_COUNT - size:,}"
    check_one("replicates", spec.replicates, fits, most, "programs count no further")


def _settled(field: dataclasses.Field, value: Any, kind: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    name, kinds = field.name, get_args(kind) if type(None) in get_args(kind) else (kind,)
    if value is None and type(None) in kinds:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if int in kinds:
        whole = isinstance(value, int | float) and number and value == value // 1
        check_one(name, value, whole, "a whole number", "give one")
        value = int(value)
        if name == "seed":
            check_one(name, value, 0 <= value < 2**63, "in [0, 2^63)", "give a whole number")
        fits = name == "seed" or abs(value) <= LARGEST_COUNT
        check_one(name, value, fits, f"at most {LARGEST_COUNT:,}", "programs count no further")
    elif float in kinds:
        check_one(name, value, number, "a number", "give one")
        value = float(value)
    else:
        check_one(name, repr(value), isinstance(value, str), "a name", "give a string")
        known = get_args(kind) if get_origin(kind) is Literal else field.metadata.get("choices")
        check_members(name, (value,), known or (value,))
    if within := field.metadata.get("within"):
        remedy = field.metadata["remedy"] or ("give a whole number" if int in kinds else "try another")
        check_one(name, value, holds(within, value), _rule(within, int in kinds), remedy)
    return value


def _rule(within: str, is_whole: bool) -> str:
    """An interval in words."""
    if is_whole and within.endswith("inf)"):
        return f"at least {ends(within)[0]:g}"
    if is_whole and within == "[1, 2]":
        return "1 or 2"
    return {"(0, inf)": "positive and finite", "[0, inf)": "finite and >= 0"}.get(within, f"in {within}")


def check_axis(name: str, values: tuple) -> None:
    """An axis holds at least one value and none twice."""
    if not values:
        raise InputError(f"{name} must hold at least one value, got none; give one or more.")
    duplicates = sorted({str(v) for v in values if values.count(v) > 1})
    if duplicates:
        raise InputError(f"{name} must not repeat a value, got {duplicates[0]} more than once; remove the repeats.")


MOST_LISTED = 6
"""Up to this many names are listed when one is misspelt; of more names, only the nearest."""


def check_members(name: str, values: tuple, known: tuple, elsewhere: Mapping[str, str] | None = None) -> None:
    """Every value is a known name; for a name that is known elsewhere, the error names the setting that it supports."""
    for value in values:
        if value not in known and elsewhere and value in elsewhere:
            raise InputError(
                f"{name} must support this setting, as {', '.join(known)} do; {value!r} supports {elsewhere[value]} "
                f"alone: leave it out here."
            )
        if value not in known:
            near = nearest(str(value), known) if len(known) > MOST_LISTED else ""
            if near:
                raise InputError(f"{name} must be among its names, got {value!r}; did you mean {near}?")
            raise InputError(f"{name} must be among {', '.join(known)}; got {value!r}; choose from the list.")


def check_each(name: str, values: tuple, holds, invariant: str, remedy: str) -> None:
    """Every value satisfies the invariant."""
    for value in values:
        check_one(name, value, holds(value), invariant, remedy)


def check_prior(name: str, weights: tuple[float, ...], num_concepts: int) -> None:
    """Weights over the concepts that sum to 1, the largest first. An empty tuple means all weight on the first."""
    if not weights:
        return
    check_one(name, weights, len(weights) == num_concepts, f"{num_concepts} weights, one a concept", "give as many")
    check_one(name, weights, all(0 <= w <= 1 for w in weights), "weights in [0, 1]", "give probabilities")
    total = sum(weights)
    check_one(name, weights, abs(total - 1) < 1e-6, f"weights that sum to 1, not {total:.6g}", "rescale them")
    check_one(name, weights, weights[0] >= max(weights), "led by the largest weight", "put the largest first")


def check_one(name: str, value, holds: bool, invariant: str, remedy: str) -> None:
    """Raise an `InputError` unless the value satisfies the invariant."""
    if not holds:
        raise InputError(f"{name} must be {invariant}, got {value}; {remedy}.")


def check_definitions(given: int, ours: int) -> None:
    """A run draws by the definitions of this program; stores of others are read, and not extended."""
    if given != ours:
        raise InputError(
            f"definitions must be {ours} in a run, got {given}, as in stores of version 0.1; leave it out, and choose "
            f"another --out."
        )
