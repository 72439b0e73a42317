"""Records of a user's JSON file, checked: each must hold fields of known names, and text in them."""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sims.engine.checked import InputError
from sims.engine.names import suggest


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: if there is no such file, or it is no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8 text, got other bytes; save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{path} must be a file that can be read, got {error.strerror}; check the path.") from error


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
