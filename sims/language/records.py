"""Records of a user's JSON file, checked: each must hold fields of known names, and text in them."""

import reprlib
from collections.abc import Mapping
from typing import Any

from sims.engine.checked import InputError
from sims.engine.names import suggest


def check_fields(where: str, record: Any, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    """A record is an object with all required fields and none that is unknown.

    Raises:
        InputError: naming the place of the record and its first bad field.
    """
    if not isinstance(record, Mapping):
        got = reprlib.repr(record)
        raise InputError(f"{where} must be an object with the fields {', '.join(required)}, got {got}; write one.")
    for name in record:
        if name not in required + optional:
            advice = suggest(name, [*required, *optional])
            raise InputError(f"{where} must hold known fields alone, got {name!r}; {advice}")
    for name in required:
        if name not in record:
            raise InputError(f"{where} must have the field {name}, got {', '.join(record) or 'none'}; add it.")


def text(where: str, record: Mapping, name: str) -> str:
    """The field `name` of a record, which is a string that is not blank."""
    value = record[name]
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}, field {name}, must be a string that is not blank, got {value!r}; write one.")
    return value.strip()


def texts(where: str, record: Mapping, name: str) -> tuple[str, ...]:
    """The field `name` of a record, which is a list of one or more strings that are not blank."""
    values = record[name]
    if not isinstance(values, list) or not values:
        raise InputError(f"{where}, field {name}, must be a list of one or more strings, got {values!r}; write one.")
    return tuple(text(where, {name: value}, name) for value in values)
