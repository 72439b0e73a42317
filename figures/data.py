"""Finished results: opened with one clear error, cut at the values that a figure wants, and turned back into tasks."""

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from figures.stores import FigureError, MissingResultError, command_for, path_of, table_of
from w2s_jax.tasks import NEEDS_EXTRA_DIM, WEAKNESSES, Weakness, make_task
from w2s_jax.types import Task

ASSUMED: dict[str, Any] = {
    "task_law": "fixed",
    "features": "gaussian",
    "spectrum": 0.0,
    "coherence": 0.0,
    "target_prior": [],
    "weak_prior_error": 0.0,
    "contamination": 0.0,
    "assumed_noise_factor": 1.0,
    "temperature": 1.0,
    "refined_labels": "sample",
}
"""Settings of a risk sweep under which its closed forms hold; a store made before a setting came has it so."""
READ = (
    *("weakness", "weak_accuracy", "sample_size", "concept_shift", "num_icl"),
    *("dim", "num_concepts", "noise_var", "penalties", "times"),
)
"""Settings of a risk sweep that closed forms are given, by the store's axes or its configuration."""
HARMLESS = ("methods", "replicates", "em_steps", "draws", "prompt_rounds", "seed", "block_size", "true_label_share")
"""Settings of a risk sweep that move no mean that a closed form is drawn for."""


class Results(NamedTuple):
    """One store: its arrays, in memory, and the configuration that made them."""

    name: str
    data: xr.Dataset
    config: dict[str, Any]
    table: bool = False
    """Whether it is a committed table, which may hold less than a figure reads."""

    @property
    def num_concepts(self) -> int:
        """K of a risk sweep."""
        return int(self.config["num_concepts"])

    @property
    def weaknesses(self) -> list[Weakness]:
        """Kinds of weak teacher in the store, in the order of the package."""
        held = [str(w) for w in self.data["weakness"].values]
        return [w for w in WEAKNESSES if w in held]

    @property
    def has_closed_forms(self) -> bool:
        """Closed forms are drawn for one task per cell, not an average over random ones, and with nothing relaxed."""
        return all(self.config.get(name, value) == value for name, value in ASSUMED.items())

    def study(self, name: str) -> xr.Dataset:
        """One study of a theory sweep: `mean` and `sem` `[*axes quantity]`, `cov` `[*axes quantity quantity_2]`."""
        parts = [f"{name}_{part}" for part in ("mean", "sem", "cov")]
        if self.table:
            parts = [part for part in parts if part in self.data]
        if not parts or not set(parts) <= set(self.data):
            command = command_for(self.name, Path("ANOTHER_FOLDER"))
            raise MissingResultError(
                f"this figure needs the study {name}, which {self.name}.zarr does not hold; "
                f"make it with: {command} --studies {name}"
            )
        found = self.data[parts]
        return found.rename({old: str(old).removeprefix(f"{name}_") for old in (*found.dims, *parts)})

    @property
    def num_replicates(self) -> int:
        """Independent replicates of every study of a theory sweep."""
        return int(self.data["num_replicates"])

    def nearest(self, **wanted: float) -> dict[str, Any]:
        """The value in the store that lies nearest to each one wanted."""
        found = {}
        for dim, value in wanted.items():
            held = self.data[dim].values
            found[dim] = held[np.abs(held - value).argmin()].item()
        return found

    def at(self, **values: Any) -> xr.Dataset:
        """The arrays at exactly these coordinates."""
        return self.data.sel(values)

    def require(self, **wanted: tuple[str, ...]) -> None:
        """Refuse, naming what is absent, a store that lacks a label of a dimension."""
        for dim, labels in wanted.items():
            held = [str(v) for v in self.data[dim].values]
            absent = [label for label in labels if label not in held]
            if absent:
                raise MissingResultError(
                    f"this figure needs {dim} {', '.join(absent)}, which {self.name}.zarr does not hold; "
                    f"run its sweep with {dim} {' '.join([*held, *absent])} into another folder."
                )

    def require_many(self, *dims: str) -> None:
        """Refuse a store that holds a single value along one of these dimensions."""
        for dim in dims:
            if self.data.sizes[dim] < 2:
                raise MissingResultError(
                    f"this figure needs at least two values of {dim}, and {self.name}.zarr holds one; "
                    f"run its sweep with more of them into another folder."
                )

    def tasks(self, weak_accuracy: Any, concept_shift: Any, num_concepts: int | None = None) -> Task:
        """Tasks of the store, `[len(self.weaknesses), *shape]`, over accuracies and shifts of one broadcast `shape`.

        A sweep without a dimension, such as one of posteriors, gets the least that holds the concepts and the teacher.
        """
        num_concepts = num_concepts or self.num_concepts
        outside = bool(set(self.weaknesses) & set(NEEDS_EXTRA_DIM))
        dim = int(self.config.get("dim", num_concepts + outside))
        noise_var = float(self.config["noise_var"])
        law = {"num_concepts": num_concepts, "dim": dim, "noise_var": noise_var}
        return make_tasks(self.weaknesses, weak_accuracy, concept_shift, **law)


def make_tasks(
    weaknesses: Iterable[str],
    weak_accuracy: Any,
    concept_shift: Any,
    *,
    num_concepts: int,
    dim: int,
    noise_var: float,
) -> Task:
    """Tasks `[len(weaknesses), *shape]` over accuracies and shifts of one broadcast `shape`."""
    accuracies, shifts = np.broadcast_arrays(np.asarray(weak_accuracy, float), np.asarray(concept_shift, float))
    rows = in_batches(_builder(tuple(weaknesses), num_concepts, dim, noise_var), accuracies.ravel(), shifts.ravel())
    shape = (len(rows), *accuracies.shape)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[2:]), stacked)


BATCH = 512
"""Tasks for which closed forms are computed at a time, so that each form is compiled once for all figures."""


def in_batches(function: Callable, *arrays: Any) -> Any:
    """A compiled function of batched trees, called on pieces of one size along their first axis; gives NumPy arrays."""
    size = len(jax.tree.leaves(arrays)[0])
    pieces = []
    for start in range(0, size, BATCH):
        index = np.minimum(np.arange(start, start + BATCH), size - 1)
        piece = function(*jax.tree.map(lambda leaf, i=index: leaf[i], arrays))
        pieces.append(jax.tree.map(np.asarray, piece))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:size], *pieces)


@cache
def _builder(weaknesses: tuple[Weakness, ...], num_concepts: int, dim: int, noise_var: float) -> Callable:
    def build(weak_accuracy: jax.Array, concept_shift: jax.Array) -> list[Task]:
        return [
            make_task(
                num_concepts=num_concepts,
                dim=dim,
                weak_accuracy=weak_accuracy,
                concept_shift=concept_shift,
                noise_var=noise_var,
                weakness=weakness,
            )
            for weakness in weaknesses
        ]

    return jax.jit(jax.vmap(build))


def open_results(folder: Path, store: str) -> Results:
    """The finished store of that name in a folder, read into memory; else the committed table of the store there.

    Raises:
        MissingResultError: if it is not there, or not finished.
        FigureError: if it cannot be read.
    """
    path = path_of(store, folder)
    if not path.exists() and table_of(store, folder).exists():
        from figures import tables

        return Results(store, *tables.read(store, folder), table=True)
    if not path.exists():
        raise MissingResultError(f"there is no {path}; make it with: {command_for(store, folder)}")
    if path.suffix == ".json":
        return _open_rows(path, store, folder)
    try:
        with xr.open_zarr(path, consolidated=False) as data:
            attributes = dict(data.attrs)
            complete = int(attributes["complete"])
            config = json.loads(attributes["config"])
            loaded = _in_order(data.load()) if complete else data
    except Exception as error:
        raise FigureError(
            f"a store must be a readable zarr group of finished results, but {path} is not ({type(error).__name__}); "
            f"move it away and make it again: {command_for(store, folder)}"
        ) from error
    if complete <= 0:
        raise MissingResultError(f"the sweep in {path} is not finished; go on with: {command_for(store, folder)}")
    return Results(store, loaded, config)


def _in_order(data: xr.Dataset) -> xr.Dataset:
    """The arrays with every axis of numbers rising, as lines are drawn; a store has them as they were asked for."""
    falls = [
        name
        for name, values in data.coords.items()
        if values.dims == (name,) and values.dtype.kind in "if" and not data.indexes[name].is_monotonic_increasing
    ]
    return data.sortby(falls) if falls else data


def _open_rows(path: Path, store: str, folder: Path) -> Results:
    """A list of measurements as a dataset over `row`; what a row does not have is NaN or empty."""
    try:
        rows = json.loads(path.read_text())
        names = sorted({name for row in rows for name, value in row.items() if not isinstance(value, list)})
        text = {name for name in names if any(isinstance(row.get(name), str) for row in rows)}
        columns = {name: [row.get(name, "" if name in text else np.nan) for row in rows] for name in names}
        seconds = [row.get("seconds") or [np.nan] for row in rows]  # limits have none
        columns |= {"fastest": [min(runs) for runs in seconds], "slowest": [max(runs) for runs in seconds]}
        data = xr.Dataset({name: ("row", values) for name, values in columns.items()})
    except Exception as error:
        raise FigureError(
            f"{store} must be a list of measurements in JSON, but {path} is not ({type(error).__name__}); "
            f"move it away and make it again: {command_for(store, folder)}"
        ) from error
    return Results(store, data, {})
