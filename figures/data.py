"""Finished results: opened with one clear error, cut at the values that a figure wants, and turned back into tasks."""

import json
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from w2s_jax.tasks import NEEDS_EXTRA_DIM, WEAKNESSES, Weakness, make_task
from w2s_jax.types import Task

COMMANDS = {
    "risk_sweep": "python -m sims.risk_sweep --preset quick --out {folder}",
    "posterior_sweep": "python -m sims.posterior_sweep --preset quick --out {folder}",
}
"""Stores that figures read, and the command that makes each."""


class FigureError(ValueError):
    """Bad input, told in one sentence: the invariant, what was given, what to do. The command exits with code 2."""


class MissingResultError(FigureError):
    """A result that a figure needs is not there yet; the sentence names the command that makes it."""


class Results(NamedTuple):
    """One store: its arrays, in memory, and the configuration that made them."""

    name: str
    data: xr.Dataset
    config: dict[str, Any]

    @property
    def num_concepts(self) -> int:
        """K of a risk sweep."""
        return int(self.config["num_concepts"])

    @property
    def weaknesses(self) -> list[str]:
        """Kinds of weak teacher in the store, in the order of the package."""
        held = [str(w) for w in self.data["weakness"].values]
        return [w for w in WEAKNESSES if w in held]

    @property
    def has_closed_forms(self) -> bool:
        """Closed forms are drawn for one task per cell, not for an average over random ones."""
        return self.config.get("task_law", "fixed") == "fixed"

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

    def tasks(
        self, weaknesses: list[str], weak_accuracy: Any, concept_shift: Any, num_concepts: int | None = None
    ) -> Task:
        """The tasks of the store, `[len(weaknesses), *shape]`, over accuracies and shifts of one broadcast `shape`."""
        accuracies, shifts = np.broadcast_arrays(np.asarray(weak_accuracy, float), np.asarray(concept_shift, float))
        return stack_tasks(self.config, weaknesses, accuracies, shifts, num_concepts or self.num_concepts)


def stack_tasks(
    config: dict[str, Any], weaknesses: list[str], accuracies: np.ndarray, shifts: np.ndarray, num_concepts: int
) -> Task:
    """Batched tasks `[len(weaknesses), *accuracies.shape]` of a configuration.

    A sweep that has no features, such as one of posteriors, has no dimension: the least that holds the concepts is taken.
    """
    outside = bool(set(weaknesses) & set(NEEDS_EXTRA_DIM))
    dim = int(config.get("dim", num_concepts + outside))

    def build(accuracy: jax.Array, shift: jax.Array) -> list[Task]:
        return [
            make_task(
                num_concepts=num_concepts,
                dim=dim,
                weak_accuracy=accuracy,
                concept_shift=shift,
                noise_var=config["noise_var"],
                weakness=cast(Weakness, weakness),
            )
            for weakness in weaknesses
        ]

    rows = jax.jit(jax.vmap(build))(jnp.asarray(accuracies.ravel()), jnp.asarray(shifts.ravel()))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    shape = (len(weaknesses), *accuracies.shape)
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[2:]), stacked)


def command_for(store: str, folder: Path) -> str:
    """The command that makes a store in a folder."""
    return COMMANDS[store].format(folder=folder)


def open_results(folder: Path, store: str) -> Results:
    """The finished store of that name in a folder, read into memory.

    Raises:
        MissingResultError: if it is not there, or not finished.
        FigureError: if it cannot be read.
    """
    path = folder / f"{store}.zarr"
    if not path.exists():
        raise MissingResultError(f"there is no {path}; make it with: {command_for(store, folder)}")
    try:
        with xr.open_zarr(path, consolidated=False) as data:
            attributes = dict(data.attrs)
            complete = int(attributes["complete"])
            config = json.loads(attributes["config"])
            loaded = data.load() if complete else data
    except Exception as error:
        raise FigureError(
            f"a store must be a readable zarr group of finished results, but {path} is not ({type(error).__name__}); "
            f"move it away and make it again: {command_for(store, folder)}"
        ) from error
    if complete <= 0:
        raise MissingResultError(f"the sweep in {path} is not finished; go on with: {command_for(store, folder)}")
    return Results(store, loaded, config)
