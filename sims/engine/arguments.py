"""Checks a command line before it is parsed: every mistake gets one sentence that says what to write instead."""

import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, Union

from sims.engine.checked import InputError
from sims.engine.names import nearest, suggest


class Option(NamedTuple):
    """What an option takes."""

    element: Any
    """Type of a value: int, float, str, bool, Path or a Literal."""
    many: bool
    optional: bool


def options_of(kind: type) -> dict[str, Option]:
    """The options that a dataclass of plain fields makes, by field name."""
    hints = typing.get_type_hints(kind)
    return {name: _option(hints[name]) for name in kind.__dataclass_fields__ if name in hints}


def _option(hint: Any) -> Option:
    optional = False
    if typing.get_origin(hint) in (Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        optional, hint = len(members) < len(typing.get_args(hint)), members[0]
    if typing.get_origin(hint) is tuple:
        return Option(typing.get_args(hint)[0], True, optional)
    return Option(hint, False, optional)


def checked(argv: list[str], options: dict[str, Option], presets: Iterable[str] = ()) -> list[str]:
    """The arguments, whole numbers such as 1e4 written out.

    Raises:
        InputError: for an option or a value that no command of these options takes.
    """
    found: list[str] = []
    for name, values in _groups(argv, options, presets):
        found += [name] if name else []
        field = name.removeprefix("--").replace("-", "_")
        if field not in options:  # --help and --no-... take nothing
            if values:
                raise InputError(f"{name} takes no value, got {values[0]!r}; leave that out.")
            continue
        found += _values(name, values, options[field])
    return found


def _groups(argv: list[str], options: dict[str, Option], presets: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """(option, values) in order."""
    switches = {f"--no-{name.replace('_', '-')}" for name, option in options.items() if option.element is bool}
    known = {f"--{name.replace('_', '-')}" for name in options} | switches | {"--help", "-h"}
    name, values = "", []
    for word in argv:
        if not _is_option(word):
            if not name:
                raise InputError(_stray(word, presets))
            values.append(word)
            continue
        if name:
            yield name, values
        name, _, value = word.partition("=")
        name, values = name.replace("_", "-") if name.startswith("--") else name, [value] if "=" in word else []
        if name not in known:
            near = nearest(name, known)
            raise InputError(f"there is no option {name}; {f'did you mean {near}?' if near else '--help lists them.'}")
    if name:
        yield name, values


def _is_option(word: str) -> bool:
    return word.startswith("-") and not _is_number(word)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _stray(word: str, presets: Iterable[str]) -> str:
    if word in presets:
        return f"options start with --, got {word!r}; did you mean --preset {word}?"
    return f"options start with --, got {word!r}; --help lists them."


def _values(name: str, values: list[str], option: Option) -> list[str]:
    if option.element is bool:
        if values:
            raise InputError(
                f"{name} takes no value, got {values[0]!r}; write {name} or --no-{name.removeprefix('--')}."
            )
        return values
    if not values and not option.many:
        raise InputError(f"{name} needs a value, got none; --help says which.")
    if len(values) > 1 and not option.many:
        raise InputError(
            f"{name} takes one value, got {' '.join(values)}; run the command once for each, with another --out."
        )
    return [_value(name, value, option) for value in values]


def _value(name: str, value: str, option: Option) -> str:
    kind = option.element
    if option.optional and value == "None":
        return value
    if typing.get_origin(kind) is Literal:
        known = [str(member) for member in typing.get_args(kind)]
        if value not in known:
            _refuse_list(name, value, option)
            raise InputError(f"{name} must be among its names, got {value!r}; {suggest(value, known)}")
        return value
    if kind in (int, float):
        if not _is_number(value):
            _refuse_list(name, value, option)
            raise InputError(f"{name} must be a {'whole ' * (kind is int)}number, got {value!r}; write it in digits.")
        if kind is int:
            return _whole(name, value)
    return value


def _refuse_list(name: str, value: str, option: Option) -> None:
    parts = [part for part in value.replace(";", ",").strip("[]()").split(",") if part]
    if option.many and len(parts) > 1:
        spaced = " ".join(part.strip() for part in parts)
        raise InputError(f"values of {name} are separated by spaces, got {value!r}; write {name} {spaced}.")


def _whole(name: str, value: str) -> str:
    try:
        return str(int(value))
    except ValueError:
        number = float(value)
    if number != number or number in (float("inf"), float("-inf")) or number != int(number):
        raise InputError(f"{name} must be a whole number, got {value!r}; write one such as 1000 or 1e3.")
    return str(int(number))


def taken(name: str, argv: list[str]) -> tuple[int, list[str]]:
    """The whole number that an option has, and the other arguments.

    >>> taken("--show", ["--seed", "1", "--show", "3"])
    (3, ['--seed', '1'])
    """
    at = next(i for i, word in enumerate(argv) if word.split("=")[0] == name)
    _, joined, value = argv[at].partition("=")
    end = at + 1 if joined else at + 2
    values = [value] if joined else argv[at + 1 : end]
    return int(_values(name, values, Option(int, False, False))[0]), argv[:at] + argv[end:]
