"""The main numbers of finished results: one cell of their grid, in words."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from w2s_jax import statistics


def nearest(data: xr.Dataset, wanted: Mapping[str, Any]) -> xr.Dataset:
    """The cell whose labels are nearest to those that are wanted: of names the one itself, or the first.

    >>> data = xr.Dataset(coords={"kind": ["noisy", "rotated"], "accuracy": [0.5, 0.75, 0.9]})
    >>> cell = nearest(data, {"kind": "rotated", "accuracy": 0.7})
    >>> str(cell.kind.values), float(cell.accuracy)
    ('rotated', 0.75)
    """
    places = {}
    for dim, value in wanted.items():
        labels = data[dim].values
        places[dim] = int(np.argmax(labels == value) if isinstance(value, str) else np.abs(labels - value).argmin())
    return data.isel(places)


def where(cell: xr.Dataset, dims: Mapping[str, Any]) -> str:
    """A cell in words, by its labels along these dimensions.

    >>> where(xr.Dataset(coords={"kind": "rotated", "accuracy": 0.75}), {"kind": 0, "accuracy": 0})
    'kind rotated, accuracy 0.75'
    """
    labels = {dim: cell[dim].item() for dim in dims}
    return ", ".join(
        f"{dim} {label:g}" if isinstance(label, float) else f"{dim} {label}" for dim, label in labels.items()
    )


def interval(values: ArrayLike) -> tuple[float, float, float]:
    """Mean of independent values `[n]`, n >= 2, such as one of each seed, and the ends of its 95% interval.

    >>> [round(number, 2) for number in interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48]
    """
    found = statistics.summarize(np.asarray(values, float)[:, None])
    ends = statistics.confidence_interval(found.mean, statistics.sem(found), found.count)
    mean, low, high = (float(np.squeeze(part)) for part in (found.mean, *ends))
    return mean, low, high


def line(name: str, mean: float, low: float, high: float, more: str = "") -> str:
    """A name, a mean and its interval.

    >>> line("naive fine-tuning", 0.25, 0.2, 0.3)
    '  naive fine-tuning                            0.2500  [0.2000, 0.3000]'
    """
    return f"  {name:<44} {mean:.4f}  [{low:.4f}, {high:.4f}]{more}"
