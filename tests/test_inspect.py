"""What `sims.inspect` tells of a store, what it finds damaged, and that it mends it to the same bits."""

import json
import os
import stat

import numpy as np
import pytest

from sims import inspect
from sims.engine.disk import DurableStore
from sims.engine.lock import RunLock
from sims.engine.store import Store
from tests.test_store import flip_a_bit, set_format
from tests.toy_sweep import SWEEP, assert_same_results, run


@pytest.fixture(autouse=True)
def _known_sweep(monkeypatch):
    monkeypatch.setitem(inspect.SWEEPS, "toy", SWEEP)


def look(out, *options) -> int:
    return inspect.main([str(out / "toy.zarr"), *options])


def test_a_sound_store(whole_toy, capsys):
    assert look(whole_toy) == 0
    text = capsys.readouterr().out
    for line in (
        "format 2, 0.0",
        "sweep       toy, preset quick, identity",
        "grid        cells: 0, 1, 2",
        "replicates 10, block_size 5, seed 0",
        "provenance  created 20",
        "progress    4 of 4 blocks, of 2 chunks of the grid",
        "10 of 10 replicates of every cell",
        "results are there, of 10 replicates",
        "lock        free",
        "health      sound: all 4 finished blocks and the results read back",
    ):
        assert line in text
    assert max(map(len, text.splitlines())) <= 120


def test_an_interrupted_sweep_tells_its_progress(tmp_path, capsys, monkeypatch):
    write = Store.write

    def killed(self, block, chunk, count, leaves):
        if (block, chunk) == (1, 0):
            raise KeyboardInterrupt
        write(self, block, chunk, count, leaves)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", killed)
        assert run(tmp_path) == 130
    (tmp_path / "toy.zarr" / "blocks" / "done" / "c" / "0" / "1").unlink()
    with RunLock(tmp_path / "toy.zarr", run="a"):
        assert look(tmp_path) == 0
    text = capsys.readouterr().out
    assert "progress    1 of 4 blocks" in text and "of 10 replicates, by chunk of the grid: 5, 0" in text
    assert "results are not there yet" in text
    assert f"held by process {os.getpid()}" in text


BLOCKS, DONE = ("blocks/risk/c/1/0/0", "block 1, chunk 0"), ("blocks/done/c/0/1", "the mark of block 0, chunk 1")
MISSING = ("blocks/nothing/c/1/1/0", "block 1, chunk 1: FileNotFoundError")
RESULT, LOST = ("risk/c/0/0", "result risk"), ("void/c/0", "result void: 1 of its files are missing")


@pytest.mark.parametrize(
    ("damage", "faults"),
    [
        (flip_a_bit, [BLOCKS, DONE]),
        pytest.param(os.unlink, [MISSING, LOST], marks=pytest.mark.slow),
        pytest.param(flip_a_bit, [RESULT], marks=pytest.mark.slow),
    ],
)
def test_damage_is_found_and_mended_to_the_same_bits(whole_toy, toy_copy, capsys, damage, faults):
    for file, _ in faults:
        damage(toy_copy / "toy.zarr" / file)
    assert look(toy_copy) == 1
    text = capsys.readouterr().out
    assert f"health      {len(faults)} faults" in text
    for _, words in faults:
        assert words in text
    assert look(toy_copy, "--repair") == 0
    assert "health      sound" in capsys.readouterr().out
    assert_same_results(toy_copy, whole_toy)
    for block, chunk in np.ndindex(2, 2):
        mended, original = (Store.look(out / "toy.zarr").read(block, chunk) for out in (toy_copy, whole_toy))
        for name in original:
            np.testing.assert_array_equal(mended[name], original[name])
    assert look(toy_copy) == 0


def test_repair_of_a_sound_store_does_nothing(toy_copy, monkeypatch):
    monkeypatch.setattr(inspect, "repair", lambda *_: pytest.fail("there is nothing to mend"))
    assert look(toy_copy, "--repair") == 0


@pytest.mark.slow
def test_a_store_that_has_grown_is_mended_to_its_size(toy_copy):
    assert run(toy_copy, replicates=13) == 0
    assert run(toy_copy.parent / "twin", replicates=13) == 0
    flip_a_bit(toy_copy / "toy.zarr" / BLOCKS[0])
    assert look(toy_copy, "--repair") == 0
    assert_same_results(toy_copy, toy_copy.parent / "twin")


def test_looking_writes_nothing(toy_copy, monkeypatch):
    monkeypatch.setattr(DurableStore, "set_sync", lambda *_: pytest.fail("a look must not write"))
    for path in (*toy_copy.rglob("*"), toy_copy):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        assert look(toy_copy) == 0
    finally:
        for path in (toy_copy, *toy_copy.rglob("*")):
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


# --- bad input --------------------------------------------------------------------------------------------------------


def refused(capsys, code: int) -> str:
    error = capsys.readouterr().err
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1
    return error


def test_no_store_there(capsys, tmp_path):
    assert "STORE must be the folder of a store" in refused(capsys, look(tmp_path))


def test_a_store_of_another_version(capsys, toy_copy):
    set_format(toy_copy / "toy.zarr", 1)
    assert "a store must have format 2" in refused(capsys, look(toy_copy, "--repair"))


def test_a_store_that_cannot_be_read(capsys, toy_copy):
    (toy_copy / "toy.zarr" / "zarr.json").write_text("{")
    assert "a store must be a readable zarr group" in refused(capsys, look(toy_copy))


def test_a_store_of_an_unknown_sweep(capsys, toy_copy):
    metadata = json.loads((toy_copy / "toy.zarr" / "zarr.json").read_text())
    metadata["attributes"]["sweep"] = "another"
    (toy_copy / "toy.zarr" / "zarr.json").write_text(json.dumps(metadata))
    assert "is of another; give the path of one of those" in refused(capsys, look(toy_copy))


def test_a_store_that_is_being_written_is_not_mended(capsys, toy_copy):
    flip_a_bit(toy_copy / "toy.zarr" / BLOCKS[0])
    with RunLock(toy_copy / "toy.zarr", run="a"):
        assert "is held by process" in refused(capsys, look(toy_copy, "--repair"))
