"""Checked values: what a specification may hold, how it is written, and the hash that names its draws."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from sims.engine.names import nearest


class InputError(Exception):
    """Invalid input. The message names the rule, the value given and the remedy. Commands exit with code 2.

    Not a ValueError, which the command-line parser would catch as its own and print in a box.
    """


LATER = {"later": True}
"""Metadata of a field that came after stores had been made: at its default it is no part of their identity. If older
stores had another value, the metadata {"before": value} give it."""

MAY_GROW = ("replicates",)
"""Fields that may change between runs on one store: more replicates extend it."""

LARGEST_COUNT = 2**31 - 1
"""Upper limit of whole numbers other than seeds: programs count in 32 bits."""


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
    """Make the fields of a frozen specification the Python values that they are declared as, or refuse them.

    Lists and arrays become tuples, NumPy's and jax's numbers Python's, whole numbers floats where those are meant, so
    that a specification can be hashed, compared and written; and counts must fit the integers of a program.
    """
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        value = value.tolist() if hasattr(value, "tolist") else value
        if get_origin(field.type) is tuple:
            if not isinstance(value, list | tuple | range):
                raise InputError(f"{field.name} must be a tuple of values, got {value!r}; put it into a tuple.")
            value = tuple(_settled(field.name, held, get_args(field.type)[0]) for held in value)
        else:
            value = _settled(field.name, value, field.type)
        object.__setattr__(spec, field.name, value)
    size = getattr(spec, "block_size", 1)
    fits = spec.replicates + size <= LARGEST_COUNT
    most = f"at most {LARGEST_COUNT - size:,}"
    check_one("replicates", spec.replicates, fits, most, "programs count no further")


def _settled(name: str, value: Any, kind: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    kinds = get_args(kind) if type(None) in get_args(kind) else (kind,)
    if value is None and type(None) in kinds:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if int in kinds:
        whole = isinstance(value, int | float) and number and value == value // 1
        check_one(name, value, whole, "a whole number", "give one")
        fits = name == "seed" or abs(value) <= LARGEST_COUNT
        check_one(name, value, fits, f"at most {LARGEST_COUNT:,}", "programs count no further")
        return int(value)
    if float in kinds:
        check_one(name, value, number, "a number", "give one")
        return float(value)
    check_one(name, repr(value), isinstance(value, str), "a name", "give a string")
    return value


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
