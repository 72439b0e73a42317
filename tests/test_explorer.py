"""The numbers of the explorer: those of the stores, those of the committed table, and a sentence for bad input."""

import csv
import json
from typing import Any

import numpy as np
import pytest

from figures.data import open_results
from figures.explorer import AXES, EVERY, STUDENTS, explorer, main
from figures.stores import FigureError
from sims.risk_sweep.spec import QUICK
from tests.conftest import ROOT
from tests.test_bad_input import assert_refused
from w2s_jax import theory
from w2s_jax.tasks import make_task

COMMITTED = ROOT / "docs" / "explorer.json"


def value(held: dict, method: str, kind: str, **at):
    """A number of the page at these coordinates, found as the page finds it."""
    own, place = held["methods"][method], 0
    for axis in ("num_concepts", *own["axes"]):
        place = place * len(held["axes"][axis]) + held["axes"][axis].index(at[axis])
    return own[kind][place]


@pytest.fixture(scope="module")
def folder(finished):
    return finished("risk_sweep").out


@pytest.fixture(scope="module")
def held(folder):
    return explorer([open_results(folder, "risk_sweep")])


@pytest.mark.slow
def test_every_cell_holds_the_numbers_of_the_store(folder, held):
    data = open_results(folder, "risk_sweep").data
    for place in np.ndindex(*(data.sizes[axis] for axis in AXES)):
        at = {axis: data[axis].values[i].item() for axis, i in zip(AXES, place)}
        cell, at = data.sel(at), at | {"num_concepts": held["axes"]["num_concepts"][0]}
        for method in data["method"].values:
            own = cell.sel({"method": method})
            assert value(held, method, "risk", **at) == pytest.approx(float(own.risk_mean), rel=1e-3)
            error = value(held, method, "error", **at)
            assert (error is None) == (float(own.risk_effective) < 30)
            if error is not None:
                assert error == pytest.approx(float(own.risk_high - own.risk_low) / 2, rel=0.06, abs=1e-6)
        flat = np.ravel_multi_index((0, *place), [len(held["axes"][axis]) for axis in EVERY])
        risks = [float(cell.risk_mean.sel({"method": method})) for method in STUDENTS]
        assert held["lowest"][flat] == int(np.argmin(risks))


@pytest.mark.slow
def test_closed_forms_are_those_of_one_task(held):
    at: dict[str, Any] = {axis: values[-1] for axis, values in held["axes"].items()} | {"weakness": "rotated"}
    accuracy, shift, concepts = (at[name] for name in ("weak_accuracy", "concept_shift", "num_concepts"))
    law = {name: held["setting"][name] for name in ("dim", "noise_var")}
    task = make_task(num_concepts=concepts, weak_accuracy=accuracy, concept_shift=shift, weakness="rotated", **law)
    shared, fresh = (theory.misalignment(task, at["num_icl"], kind) for kind in ("shared", "fresh"))
    spreads = theory.label_spread(shared, fresh, concepts)
    for method, level, spread in zip(("icl_refine_shared", "icl_refine_fresh"), (shared, fresh), spreads):
        exact = float(theory.refined_risk(task, at["sample_size"], level, spread))
        assert value(held, method, "theory", **at) == pytest.approx(exact, rel=1e-3)
    assert value(held, "weak", "theory", **at) == pytest.approx(float(theory.weak_bias(task)), rel=1e-3)
    assert value(held, "self_refine", "risk", **at) > 0 and held["methods"]["self_refine"]["theory"] is None


def test_what_is_committed_is_of_the_quick_preset_and_agrees_with_its_table():
    held = json.loads(COMMITTED.read_text())
    assert COMMITTED.stat().st_size < 3_000_000
    assert held["axes"] == {"num_concepts": [2, 4, 8, 16]} | {axis: list(getattr(QUICK, axis)) for axis in AXES}
    assert all(getattr(QUICK, name) == given for name, given in held["setting"].items())
    with (ROOT / "docs" / "results" / "risk_sweep-quick.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["variable"] == "risk_mean"]
    assert len(rows) > 100
    for row in rows:
        at = {axis: type(held["axes"][axis][0])(row[axis]) for axis in AXES if row[axis]} | {"num_concepts": 4}
        assert value(held, row["method"], "risk", **at) == pytest.approx(float(row["value"]), rel=6e-4), row


def test_closed_forms_of_the_page_are_as_near_as_it_says():
    held = json.loads(COMMITTED.read_text())
    for method in ("naive_ft", "icl_refine_shared", "icl_refine_fresh", "ceiling"):
        own = held["methods"][method]
        shape = [len(held["axes"][axis]) for axis in ("num_concepts", *own["axes"])]
        ratio = np.array(own["theory"], float).reshape(shape) / np.array(own["risk"]).reshape(shape)
        ratio = np.moveaxis(ratio, 1 + own["axes"].index("sample_size"), 0)
        large = np.array(held["axes"]["sample_size"]) >= 256
        assert np.abs(ratio - 1).max() < 0.03 and np.abs(ratio[large] - 1).max() < 0.015


@pytest.mark.slow
def test_what_does_not_belong_together_is_a_sentence(folder, tmp_path, capsys):
    for folders, place, words in (
        ((folder, folder), "x.json", "must have its own number of concepts"),
        ((tmp_path,), "x.json", "there is no"),
        ((folder,), "missing/x.json", "--out must be a file that can be written"),
    ):
        assert_refused(capsys, main([*map(str, folders), "--out", str(tmp_path / place)]), words)
    assert not list(tmp_path.iterdir())


def test_settings_that_differ_are_named(folder):
    store = open_results(folder, "risk_sweep")
    with pytest.raises(FigureError, match="noise_var is not the same with"):
        explorer([store, store._replace(config=store.config | {"noise_var": 0.5, "num_concepts": 4})])
    with pytest.raises(FigureError, match="leave those out that relax one"):
        explorer([store._replace(config=store.config | {"spectrum": 1.0})])


@pytest.mark.slow
def test_the_command_writes_what_the_page_reads(folder, tmp_path, held, capsys):
    path = tmp_path / "explorer.json"
    assert main([str(folder), "--out", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert json.loads(path.read_text()) == json.loads(json.dumps(held))
