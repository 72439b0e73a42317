"""Numbers in the tables that describe a model: config.json, and the metadata of a GGUF file."""

import math
from collections.abc import Mapping
from typing import Any


def whole(table: Mapping[str, Any], name: str, where: str, default: int | None = None) -> int:
    """The whole number of at least 1 that a table has under `name`; `default` where it has none or null.

    Raises:
        ValueError: if there is none, or something else.

    >>> whole({"layers": 30}, "layers", "config.json")
    30
    """
    value = default if table.get(name) is None else table[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{where} must give {name} as a whole number of at least 1, got {value!r}.")
    return value


def positive(table: Mapping[str, Any], name: str, where: str, default: float | None = None) -> float:
    """As `whole`, for a finite number above 0.

    >>> positive({}, "rope_theta", "config.json", 10_000.0)
    10000.0
    """
    value = default if table.get(name) is None else table[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{where} must give {name} as a finite number above 0, got {value!r}.")
    return float(value)
