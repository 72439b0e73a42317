"""Finished results of a sweep, opened so that `results.sel(method="naive_ft")` is one method.

`method` is a dimension of the stores and a keyword of xarray's `sel` (how to fill gaps), which without other indexers
ignores it and silently gives all methods. Here a label of the dimension means that label, in datasets and in the arrays
taken from them (what `xarray.merge` and `xarray.concat` make of them is plain xarray again). Import it as
`from w2s_jax.results import open_results`: the package itself imports no xarray, which the extra `sims` brings.
"""

import difflib
import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

FILLS = ("nearest", "pad", "ffill", "backfill", "bfill")
"""What xarray's own keyword `method` may be."""


class Results(xr.Dataset):
    """A dataset in which `sel(method=...)` selects along the dimension `method`; otherwise xarray's own."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        """As in xarray; single variables are `ResultArray`s."""
        found = super().__getitem__(key)
        return ResultArray(found) if isinstance(found, xr.DataArray) else found

    def _binary_op(self, *operands: Any, **options: Any) -> "Results":
        return _as_results(super()._binary_op(*operands, **options))

    def sel(
        self,
        indexers: Mapping[Any, Any] | None = None,
        method: Any = None,
        tolerance: Any = None,
        drop: bool = False,
        **indexers_kwargs: Any,
    ) -> "Results":
        """As in xarray, but that `method` may be one or several labels of the dimension of that name."""
        indexers, method = _resolved(self, {**(indexers or {}), **indexers_kwargs}, method)
        return super().sel(indexers, method, tolerance, drop)


class ResultArray(xr.DataArray):
    """An array in which `sel(method=...)` selects along the dimension `method`; otherwise xarray's own."""

    __slots__ = ()

    def sel(
        self,
        indexers: Mapping[Any, Any] | None = None,
        method: Any = None,
        tolerance: Any = None,
        drop: bool = False,
        **indexers_kwargs: Any,
    ) -> "ResultArray":
        """As in xarray, but that `method` may be one or several labels of the dimension of that name."""
        indexers, method = _resolved(self, {**(indexers or {}), **indexers_kwargs}, method)
        return super().sel(indexers, method, tolerance, drop)


def open_results(path: str | Path) -> Results:
    """The finished results of a sweep, lazily read.

    Args:
        path: of the store, such as results/risk_sweep.zarr; of this version of the package or an older one.

    Returns:
        A `Results`. Its attributes are numbers and strings for every version of the store, and `written_by` names it.

    Raises:
        FileNotFoundError: if there is no store.
        ValueError: if that is no store of finished results.

    >>> import tempfile, warnings
    >>> folder = tempfile.TemporaryDirectory()
    >>> risk = xr.Dataset({"risk_mean": ("method", [0.5, 0.2])}, {"method": ["weak", "naive_ft"]})
    >>> risk.attrs |= {"complete": 100, "versions": {"w2s_jax": "0.1.0"}}
    >>> with warnings.catch_warnings(action="ignore"):
    ...     _ = risk.to_zarr(folder.name + "/risk_sweep.zarr", consolidated=False)
    >>> results = open_results(folder.name + "/risk_sweep.zarr")
    >>> float(results.sel(method="naive_ft").risk_mean), float(results.risk_mean.sel(method="weak"))
    (0.2, 0.5)
    >>> results.written_by
    'w2s_jax 0.1.0'
    >>> folder.cleanup()
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"path must be that of a store, but there is none at {path}; run its sweep first.")
    try:
        data = xr.open_zarr(path, consolidated=False)
        complete = int(data.attrs["complete"])
    except Exception as error:
        inside = ", ".join(sorted(held.name for held in path.glob("*.zarr")))
        raise ValueError(
            f"path must be that of a store of results, which {path} is not ({type(error).__name__}); "
            + (f"it is a folder of stores: give one of {inside}." if inside else "give a .zarr folder of a sweep.")
        ) from error
    if complete <= 0:
        raise ValueError(f"results must be finished, but those of {path} are not; run its sweep to the end.")
    attributes = {name: _plain(value) for name, value in data.attrs.items() if value is not None}
    versions = str(attributes.get("versions", "w2s_jax unknown"))
    attributes["written_by"] = versions.split(",")[0]
    return _as_results(data.drop_attrs(deep=False).assign_attrs(attributes))


def _as_results(data: xr.Dataset) -> Results:
    return Results(data.data_vars, data.coords, data.attrs)


def _resolved(
    held: xr.Dataset | xr.DataArray, indexers: dict[Hashable, Any], method: Any
) -> tuple[dict[Hashable, Any], Any]:
    """Indexers and xarray's own `method`, of which one was meant by `sel(method=...)`."""
    if method is None or "method" not in held.coords or "method" in indexers:
        return indexers, method
    labels = [str(label) for label in held.coords["method"].values.ravel()]
    asked = [method] if isinstance(method, str) else list(method)
    unknown = [name for name in asked if str(name) not in labels]
    if not unknown:
        return {**indexers, "method": method}, None
    if method in FILLS and indexers:
        return indexers, method
    near = difflib.get_close_matches(str(unknown[0]), labels) or labels
    raise KeyError(f"method must be among the methods of these results, got {unknown[0]!r}; nearest: {', '.join(near)}")


def _plain(value: Any) -> Any:
    """An attribute as every format of files takes it: stores of before 0.2 hold dicts."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {held}" for name, held in value.items())
    return value if isinstance(value, str | int | float | list) else json.dumps(value)
