"""Results as a user opens them: the natural call is the right one, in datasets, in arrays, and in older stores."""

import json

import jax
import numpy as np
import pytest
import xarray as xr

from sims.engine.store import save_results
from tests.toy_sweep import without_manifest
from w2s_jax.results import ResultArray, Results, open_results

METHODS = ["weak", "naive_ft", "icl_refine_shared"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "risk_sweep.zarr"
    risk = np.arange(6.0).reshape(3, 2)
    coords = {"method": METHODS, "weak_accuracy": ("weak_accuracy", [0.5, 0.9], {"units": "1"})}
    data = xr.Dataset({"risk_mean": (("method", "weak_accuracy"), risk), "uses": ("method", [True] * 3)}, coords)
    save_results(data.assign_attrs(complete=10, versions={"w2s_jax": "0.1.0", "jax": "0.9"}, target_sem=None), path)
    return path


WAYS = {
    "one": (lambda data: data.sel(method="naive_ft"), [2.0, 3.0]),
    "with an axis": (lambda data: data.sel(method="naive_ft", weak_accuracy=0.9), 3.0),
    "after an axis": (lambda data: data.sel(weak_accuracy=0.9).sel(method="weak"), 1.0),
    "several": (lambda data: data.sel(method=["weak", "icl_refine_shared"]), [[0.0, 1.0], [4.0, 5.0]]),
    "as a dict": (lambda data: data.sel({"method": "weak"}), [0.0, 1.0]),
    "the nearest value": (lambda data: data.sel(weak_accuracy=0.8, method="nearest").sel(method="weak"), 1.0),
    "after a mean": (lambda data: data.mean("weak_accuracy").sel(method="naive_ft"), 2.5),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_natural_call_is_one_method(store, way):
    data, (call, expected) = open_results(store)[["risk_mean"]], WAYS[way]
    for found in (call(data).risk_mean, call(data["risk_mean"]), call(data.risk_mean), call(data.load().risk_mean)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["naive", "nearest"])
def test_a_method_that_is_not_there_is_an_error(store, name):
    data, message = open_results(store), "method must be among the methods of these results, got"
    for of in (data, data.risk_mean):
        with pytest.raises(KeyError, match=f"{message} '{name}'; nearest: "):
            of.sel(method=name)


def test_what_comes_out_stays_labelled_and_is_written_by_every_writer(store, tmp_path):
    data = open_results(store)
    assert isinstance(data, Results) and isinstance(data.isel(method=0), Results)
    assert isinstance(data.risk_mean, ResultArray) and isinstance(data.risk_mean + 1, ResultArray)
    assert data.weak_accuracy.attrs["units"] == "1" and set(data.coords) == {"method", "weak_accuracy"}
    assert data["method"].attrs["labels"] == " ".join(METHODS)
    assert data.attrs == {"complete": 10, "versions": "w2s_jax 0.1.0, jax 0.9", "written_by": "w2s_jax 0.1.0"}
    data[["risk_mean"]].to_netcdf(tmp_path / "risk.nc")  # dicts and None would be a TypeError
    np.testing.assert_array_equal(xr.open_dataset(tmp_path / "risk.nc").risk_mean, data.risk_mean)


def test_stores_of_this_version_and_of_the_one_before_open(toy_copy):
    now = open_results(toy_copy / "toy.zarr")
    assert now.attrs["written_by"].startswith("w2s_jax ") and f"jax {jax.__version__}" in now.attrs["versions"]
    without_manifest(toy_copy)
    before = open_results(toy_copy / "toy.zarr")
    assert before.attrs["written_by"] == "w2s_jax 0.1.0" and "target_sem" not in before.attrs
    np.testing.assert_array_equal(before.risk, now.risk)
    assert json.loads(before.attrs["config"])["replicates"] == 10


def test_what_is_no_store_of_finished_results_is_refused(store, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is none at .*; run its sweep first"):
        open_results(tmp_path / "x.zarr")
    with pytest.raises(ValueError, match=r"it is a folder of stores: give one of risk_sweep\.zarr"):
        open_results(store.parent)
    save_results(xr.Dataset({"x": 1.0}, attrs={"complete": 0}), tmp_path / "y.zarr")
    with pytest.raises(ValueError, match="results must be finished"):
        open_results(tmp_path / "y.zarr")
