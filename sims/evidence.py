"""The numbers behind claims and tables: what they read of a finished sweep, as a table that is small enough to commit.

    FOLDER/<sweep>-<preset>.csv     variable, a column for each dimension, value
    FOLDER/<sweep>-<preset>.json    where they come from, dimensions and coordinates, the claims

An empty cell under a dimension means that the number is the same at each of its labels, or that the variable does not
have it. Numbers are rounded to six significant digits, and claims are evaluated on the rounded ones; a variable may
also hold words, such as the subject of a question.

What a function reads is recorded, not listed: every array of a data set notes which of its elements were asked for. A
data set that was built from a table refuses to give an element that the table does not hold, so that no claim can pass
for want of its numbers.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from sims.engine.checked import InputError

DIGITS = 6
"""Significant digits of a number in a table; results are computed in single precision, which has seven."""


class Watched(BackendArray):
    """An array that notes what is read of it, and refuses what it does not hold."""

    def __init__(self, name: str, values: np.ndarray, held: np.ndarray | None = None) -> None:
        self.name, self.values, self.held = name, values, held
        self.shape, self.dtype = values.shape, values.dtype
        self.read = np.zeros(values.shape, bool)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._outer)

    def __deepcopy__(self, memo: dict) -> "Watched":
        return self  # xarray copies data sets on its way, and what is read of a copy counts

    def _outer(self, key: tuple) -> np.ndarray:
        places = [np.arange(size)[part] for part, size in zip(key, self.shape)]
        at, shape = np.ix_(*map(np.atleast_1d, places)), [size for part in places for size in np.shape(part)]
        if self.held is not None and not self.held[at].all():
            raise InputError(
                f"a table must hold what is read of it, but {self.name} is not all there; "
                f"write it again from the sweep's store with python -m sims.report."
            )
        self.read[at] = True
        return self.values[at].reshape(shape)


class Evidence(NamedTuple):
    """A data set whose reading is watched, and where it comes from."""

    data: xr.Dataset
    arrays: dict[str, Watched]
    about: dict
    """The JSON beside the table; empty for a store."""


def watch(data: xr.Dataset) -> Evidence:
    """The same data set, watched; `data` must be in memory."""
    arrays = {str(name): Watched(str(name), variable.values) for name, variable in data.data_vars.items()}
    return _evidence(arrays, {name: data[name].dims for name in arrays}, data.coords, {})


def table(evidence: Evidence) -> tuple[dict, list[dict]]:
    """(dimensions and coordinates, rows) of everything that was read."""
    arrays = {name: array for name, array in sorted(evidence.arrays.items()) if array.read.any()}
    dims = {name: [str(dim) for dim in evidence.data[name].dims] for name in arrays}
    used = list(dict.fromkeys(dim for own in dims.values() for dim in own))
    labels = {dim: evidence.data[dim].values.tolist() for dim in used}
    words = [name for name, array in arrays.items() if _holds_words(array.values)]
    kept = {name: np.where(a.read, a.values, "" if name in words else np.nan) for name, a in arrays.items()}
    rows = [
        {"variable": name, **where, "value": value}
        for name, array in arrays.items()
        for where, value in _rows(kept[name], array.read, dims[name], labels)
    ]
    return {"variables": dims, "coordinates": labels} | ({"words": words} if words else {}), rows


def _holds_words(values: np.ndarray) -> bool:
    return values.dtype.kind not in "biuf"


def write(rows: list[dict], dims: list[str], path: Path) -> None:
    """The rows as a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["variable", *dims, "value"], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def load(folder: Path, name: str) -> Evidence:
    """The evidence `<name>.csv` and `<name>.json` in a folder, as a data set."""
    about = json.loads((folder / f"{name}.json").read_text())
    with (folder / f"{name}.csv").open(newline="") as file:
        return build(about, list(csv.DictReader(file)))


def build(about: dict, rows: list[dict]) -> Evidence:
    """The data set that a table represents."""
    dims, labels, words = about["variables"], about["coordinates"], about.get("words", ())
    place = {dim: {str(label): i for i, label in enumerate(values)} for dim, values in labels.items()}
    arrays = {}
    for name, own in dims.items():
        shape = [len(labels[dim]) for dim in own]
        empty = np.full(shape, "", object) if name in words else np.full(shape, np.nan)
        arrays[name] = Watched(name, empty, np.zeros(shape, bool))
    for row in rows:
        array = arrays[row["variable"]]
        cells = ((dim, row.get(dim, "")) for dim in dims[row["variable"]])
        at = tuple(slice(None) if cell == "" else place[dim][str(cell)] for dim, cell in cells)
        array.values[at] = row["value"] if row["variable"] in words else float(row["value"])
        array.held[at] = True
    return _evidence(arrays, dims, labels, about)


def _evidence(arrays: dict[str, Watched], dims: dict, coords, about: dict) -> Evidence:
    variables = {name: (dims[name], indexing.LazilyIndexedArray(array)) for name, array in arrays.items()}
    return Evidence(xr.Dataset(variables, {name: coords[name] for name in coords}), arrays, about)


def _rows(values: np.ndarray, kept: np.ndarray, dims: list[str], labels: dict) -> Iterator[tuple[dict, str]]:
    """(labels, number) of every kept element; a dimension along which nothing changes is left out."""
    for axis, dim in reversed(list(enumerate(dims))):
        first, known = np.take(values, [0], axis), np.take(kept, [0], axis)
        if (kept == known).all() and _alike(values, first):
            rest = [other for other in dims if other != dim]
            yield from _rows(first.squeeze(axis), known.squeeze(axis), rest, labels)
            return
    if not kept.any():
        return
    if not dims:
        yield {}, str(values) if _holds_words(values) else _number(float(values))
        return
    for label, part, known in zip(labels[dims[0]], values, kept):
        for where, value in _rows(part, known, dims[1:], labels):
            yield {dims[0]: label, **where}, value


def _alike(values: np.ndarray, first: np.ndarray) -> bool:
    return np.array_equal(*np.broadcast_arrays(values, first), equal_nan=not _holds_words(values))


def _number(value: float) -> str:
    """Whole numbers in full, others rounded."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.{DIGITS}g}"
