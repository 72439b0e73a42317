"""The manifest of a store: what it must hold, the settings under which it was drawn, and the writer of each block."""

import contextlib
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from sims.engine import manifest, precision, runtime
from sims.engine.checked import InputError
from sims.engine.lock import RunLock
from sims.engine.run import Options
from sims.engine.run import run as run_sweep
from sims.engine.store import Store
from tests import toy_sweep
from tests.helpers import files
from tests.toy_sweep import assert_same_results, look, one_error, prepare, run, without_manifest

# --- what it must hold ------------------------------------------------------------------------------------------------


def test_a_part_that_is_missing_is_named(toy_copy, capsys):
    shutil.rmtree(toy_copy / "toy.zarr" / "blocks" / "count")
    assert run(toy_copy, replicates=20) == 2
    assert "must hold blocks/count, which is missing" in one_error(capsys)


def test_folders_that_others_leave_in_a_store_are_ignored(toy_copy):
    for folder in (".ipynb_checkpoints", "blocks/.ipynb_checkpoints", "blocks/notes"):
        (toy_copy / "toy.zarr" / folder).mkdir()
    assert look(toy_copy) == 0
    assert run(toy_copy, replicates=13) == 0
    assert look(toy_copy) == 0


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"risk": ["float64", 4]}, r"holds risk as float64 \[3\], and here it is float64 \[4\]"),
        ({"risk": ["float64", 3], "more": ["int64"]}, r"holds more as nothing, and here it is int64 \[\]"),
    ],
)
def test_another_cut_is_one_sentence(tmp_path, wanted, message):
    with pytest.raises(InputError, match=rf"must be cut into blocks .* {message}: another version .* --from"):
        manifest.check_shapes(tmp_path, {"risk": ["float64", 3]}, 2, wanted, 2)


@pytest.mark.parametrize("noted", [True, False])
def test_a_store_of_another_plan_is_not_written(toy_copy, capsys, monkeypatch, noted):
    if not noted:
        without_manifest(toy_copy)
    monkeypatch.setattr(toy_sweep, "prepare", lambda spec: prepare(spec)._replace(chunks=[jnp.zeros(3)]))
    before = files(toy_copy)
    assert run(toy_copy, replicates=20) == 2
    assert "has 2 chunks of the grid, and here there are 1" in one_error(capsys)
    assert files(toy_copy) == before


# --- under which settings ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def setting(name: str, value):
    before = jax.config.values[name]
    jax.config.update(name, value)
    try:
        yield before
    finally:
        jax.config.update(name, before)


@pytest.mark.parametrize(
    ("name", "value", "repair"),
    [
        ("jax_default_prng_impl", "rbg", False),
        ("jax_threefry_partitionable", False, True),
        ("jax_enable_x64", False, False),
        ("jax_enable_x64", False, True),
    ],
)
def test_no_store_holds_draws_of_two_kinds(toy_copy, capsys, name, value, repair):
    if repair:
        shutil.rmtree(toy_copy / "toy.zarr" / "risk")
    with setting(name, value) as before:
        assert (look(toy_copy, "--repair") if repair else run(toy_copy, replicates=20)) == 2
    assert f"{name} {before}, and here it is {value}; run again with {name.upper()}=" in one_error(capsys)
    assert precision.read_published(toy_copy / "toy.zarr").complete == 10


def test_a_store_of_before_settings_were_noted_shows_its_precision(toy_copy, capsys):
    without_manifest(toy_copy)
    with setting("jax_enable_x64", False):
        assert run(toy_copy, replicates=20) == 2
    assert "another version of it, or other settings of jax, made that store" in one_error(capsys)


# --- writers of blocks ------------------------------------------------------------------------------------------------


def test_every_block_names_its_own_writer(tmp_path, capsys, monkeypatch):
    for replicates, commit in ((10, "first"), (15, "second")):
        monkeypatch.setattr(runtime, "_commit", lambda commit=commit: commit)
        assert run(tmp_path, replicates=replicates) == 0
    origins = Store.look(tmp_path / "toy.zarr").origins()
    assert [(origin["commit"], count) for origin, count in origins] == [("first", 20), ("second", 10)]
    assert origins[1][0]["versions"]["jax"] == jax.__version__
    capsys.readouterr()
    assert look(tmp_path) == 0
    text = capsys.readouterr().out
    assert "commit first" in text and "commit second" in text


def test_a_store_that_noted_nothing_still_goes_on_and_notes_the_rest(toy_copy, capsys, monkeypatch):
    without_manifest(toy_copy)
    assert look(toy_copy) == 0
    assert "made by an earlier version" in capsys.readouterr().out
    monkeypatch.setattr(runtime, "_commit", lambda: "second")
    assert run(toy_copy, replicates=15) == 0
    (first, _), (second, count) = Store.look(toy_copy / "toy.zarr").origins()
    assert first["versions"] == {"w2s_jax": "0.1.0", "jax": "0.9.2"} and (second["commit"], count) == ("second", 10)
    assert look(toy_copy) == 0
    assert run(toy_copy.parent / "twin", replicates=15) == 0
    assert_same_results(toy_copy, toy_copy.parent / "twin")


# --- for other readers ------------------------------------------------------------------------------------------------


def test_attributes_are_what_every_format_takes_and_every_group_opens(whole_toy):
    path = whole_toy / "toy.zarr"
    kinds = {name: type(value) for name, value in xr.open_zarr(path, consolidated=False).attrs.items()}
    assert set(kinds.values()) <= {str, int, float, list}, kinds
    blocks = xr.open_datatree(path, engine="zarr", consolidated=False)["blocks"]
    np.testing.assert_array_equal(blocks["done"], np.full((2, 2), 5))
    assert blocks["risk"].dims == ("block", "chunk", "risk_0")


# --- two commands on one store ----------------------------------------------------------------------------------------


def test_what_another_run_publishes_meanwhile_is_never_lost(tmp_path, monkeypatch):
    """A command of 7 replicates looks before another publishes 13, and gets the lock after it."""
    enter, inside = RunLock.__enter__, []

    def late(self):
        if not inside:
            inside.append(True)
            assert run(tmp_path, replicates=13) == 0
        return enter(self)

    monkeypatch.setattr(RunLock, "__enter__", late)
    assert run(tmp_path, replicates=7) == 0
    assert precision.read_published(tmp_path / "toy.zarr").complete == 13
    assert Store.look(tmp_path / "toy.zarr").marks().sum(axis=0).tolist() == [13, 13]


def test_a_target_needs_a_sweep_with_risks_and_says_so_before_it_computes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Store, "write", lambda *_: pytest.fail("nothing may be computed"))
    options = Options(target=precision.Target(0.1, 100))
    with pytest.raises(InputError, match="--target-sem needs a sweep with risks, and toy has none"):
        run_sweep("toy", toy_sweep.ToySpec(), prepare, tmp_path / "x", options)
    assert not re.search("blocks", capsys.readouterr().err) and not (tmp_path / "x").exists()
