"""One number of each committed table, chosen by the date, is simulated again.

Sweeps that simulate run one cell anew, with the replicates of `quick` and another seed, and must agree within five
standard errors. A whole seed of trained networks takes minutes; of those sweeps the part that no network enters, exact
Bayes on the same draws, is computed anew and must be the same.
"""

import dataclasses
import datetime as dt
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from sims.alignment import gate
from sims.alignment.strong import make_network
from sims.incontext import seeds
from sims.incontext.world import draw_world, task_of
from sims.methods import __main__ as methods
from sims.posterior_sweep import __main__ as posterior_sweep
from sims.risk_sweep import __main__ as risk_sweep
from sims.sweeps import SWEEPS
from sims.theory_sweep import __main__ as theory_sweep
from tests.test_evidence import HERE, rows_of
from w2s_jax.rng import replicate_key, stream
from w2s_jax.types import stack

TODAY = dt.date.today().isoformat()
CELL = ("weakness", "weak_accuracy", "concept_shift")
GRIDS = {
    "risk_sweep": (risk_sweep, (*CELL, "sample_size", "num_icl")),
    "posterior_sweep": (posterior_sweep, (*CELL, "num_concepts", "assumed_noise", "num_icl")),
    "methods": (methods, CELL),
    "methods_sign": (methods, CELL),
    "methods_true_labels": (methods, (*CELL, "true_label_share")),
    "methods_sign_true_labels": (methods, (*CELL, "true_label_share")),
}
"""Module of each sweep over a grid of tasks, and the axes that are cut to one value each."""
FREQUENT = 1e-3
"""Means under this may rest on a few rare prompts, so that their standard errors are not known."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def here(*names: str) -> list[str]:
    """Those whose table is committed; tests/test_evidence.py lists the others."""
    return [name for name in names if f"{name}-quick" in HERE]


def chosen(name: str, *variables: str, least: float = 0.0) -> dict[str, str]:
    """A row of the table of a sweep, of one of these variables, at least this large; the same all day."""
    rows = [row for row in rows_of(f"{name}-quick") if row["variable"] in variables]
    rows = [row for row in rows if abs(float(row["value"])) >= least]
    return random.Random(f"{TODAY} {name}").choice(rows)


def at(data: xr.DataArray, row: dict[str, str]) -> float:
    """The number of a new run where the row is; any label of a dimension along which it does not change."""
    places = {dim: [str(x) for x in data[dim].values].index(row[dim]) if row[dim] else 0 for dim in map(str, data.dims)}
    return float(data.isel(places))


def assert_agree(row: dict[str, str], data: xr.Dataset) -> None:
    new, sem = (at(data[row["variable"].replace("_mean", part)], row) for part in ("_mean", "_sem"))
    old = float(row["value"])
    z = (new - old) / max(np.sqrt(2) * sem, 1e-5 * abs(old), 1e-12)  # as many replicates, so twice the variance
    assert abs(z) < 5, f"{row} of {TODAY}: committed {old:.6g}, simulated anew {new:.6g}, z = {z:.1f}"


def run(module, spec, out) -> xr.Dataset:
    return xr.open_zarr(module.start(spec, out), consolidated=False).load()


@pytest.mark.parametrize("name", here(*GRIDS))
def test_a_cell_of_a_grid_is_simulated_again(name, tmp_path):
    module, axes = GRIDS[name]
    quick = SWEEPS[name].presets["quick"]
    row = chosen(name, "risk_mean", "shared_misalignment_mean", "fresh_misalignment_mean", least=FREQUENT)
    cut = {axis: next(x for x in getattr(quick, axis) if row[axis] in ("", str(x))) for axis in axes}
    fields = {axis: (value,) for axis, value in cut.items()} | {"seed": quick.seed + 1}
    if row.get("method"):
        fields["methods"] = tuple(dict.fromkeys((row["method"], "naive_ft")))  # a budget is counted in its fits
    if name.startswith("methods"):
        fields["relaxed"] = quick.relaxed[:1]
    assert_agree(row, run(module, dataclasses.replace(quick, **fields), tmp_path))


@pytest.mark.parametrize("name", here("theory_sweep"))
def test_a_study_is_simulated_again(name, tmp_path):
    quick = SWEEPS[name].presets["quick"]
    row = chosen(name, *(f"{study}_mean" for study in quick.studies), least=FREQUENT)
    study = row["variable"].removesuffix("_mean")
    assert_agree(row, run(theory_sweep, dataclasses.replace(quick, studies=(study,), seed=quick.seed + 1), tmp_path))


@pytest.mark.parametrize("name", here("incontext"))
def test_exact_bayes_names_the_same_concepts(name):
    spec, row = SWEEPS[name].presets["quick"], chosen(name, "bayes_named_concept")
    shift = next(x for x in spec.concept_shift if row["concept_shift"] in ("", str(x)))
    with jax.enable_x64(False):  # as the sweep draws
        teachers = stack([task_of(spec, shift, accuracy, spec.weakness) for accuracy in spec.weak_accuracy])
        key = replicate_key(jax.random.key(spec.seed), jnp.asarray(int(row["seed"] or 0)))
        found = jax.jit(lambda: seeds._exact_bayes(spec, draw_world(spec, key, teachers))[2])()
    dims = {"weak_accuracy": list(spec.weak_accuracy), "num_icl": list(spec.num_icl)}
    assert at(xr.DataArray(found, dims=list(dims), coords=dims), row) == float(row["value"]), f"{row} of {TODAY}"


@pytest.mark.parametrize("name", here(*(name for name in SWEEPS if name.startswith("alignment_"))))
def test_exact_bayes_names_the_concept_as_often(name):
    """The network here is untrained: what exact Bayes names does not depend on it."""
    spec, row = SWEEPS[name].presets["quick"], chosen(name, "bayes_naming")
    with jax.enable_x64(False):  # as the sweep draws
        number = jnp.asarray(int(row["seed"] or 0))
        key = stream(replicate_key(jax.random.key(spec.seed), number), "gate")
        untrained = make_network(spec, spec.width, jax.random.key(0))[1]
        found = jax.jit(lambda: gate._examine_one(spec, key, untrained).bayes_naming)()
    concepts = [word.strip("<>") for word in spec.world.words[2 : 2 + spec.world.num_concepts]]
    dims = {"prompt_length": range(spec.slots), "concept": concepts}
    again = at(xr.DataArray(found, dims=list(dims), coords=dims), row)
    assert again == pytest.approx(float(row["value"]), abs=1e-5), f"{row} of {TODAY}"
